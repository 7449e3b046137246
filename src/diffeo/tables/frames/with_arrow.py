"""Columns that are Arrow arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.frames import with_numpy
from diffeo.tables.frames.arrow_types import build, describe
from diffeo.tables.frames.cells import Cells
from diffeo.tables.frames.objects import read_objects
from diffeo.tables.frames.with_numpy import Storage


def storage(column: Any) -> Storage:
    """Return how an Arrow column holds its values, in plain JSON."""
    return {"type": describe(column.type), "nan": _only_nan(column)}


def _only_nan(column: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(column.type) and not column.null_count)


def read(name: str, column: Any) -> Cells:
    """Return the cells of an Arrow array, chunked or not.

    Raises:
        DataError: its type is none that a column can have.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    missing = array.is_null().to_numpy(zero_copy_only=False).astype(bool)
    if pa.types.is_null(kind):
        return Cells("label", np.zeros(len(array), dtype=np.int64), missing)
    if pa.types.is_dictionary(kind):
        return _read_labels(name, array, missing)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view":
        encoded = array.cast(pa.large_string()).dictionary_encode()
        return _read_labels(name, encoded, missing)
    if pa.types.is_boolean(kind):
        codes = pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.int64)
        return Cells("label", codes, missing, (False, True))
    if pa.types.is_integer(kind):
        whole = with_numpy.read(name, pc.fill_null(array, 0).to_numpy(zero_copy_only=False))
        return replace(whole, missing=missing)
    if pa.types.is_floating(kind):
        values = pc.fill_null(array, float("nan")).to_numpy(zero_copy_only=False)
        return with_numpy.read(name, values)
    if pa.types.is_decimal(kind):
        return read_objects(name, array.to_pylist())
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_date(kind):
        return _read_times(array, missing)
    raise DataError(
        f"column {name!r} has the Arrow type {kind}; expected numbers, truth values, text or dates: cast "
        "it to one of these, or leave it out."
    )


def _read_labels(name: str, array: Any, missing: Any) -> Cells:
    import pyarrow.compute as pc

    codes = pc.fill_null(array.indices, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    given = read_objects(name, array.dictionary.to_pylist())
    if given.sort != "label":  # a dictionary of numbers
        given = given.as_labels()
    return Cells("label", given.content[codes] if len(given) else codes, missing, given.labels)


def _read_times(array: Any, missing: Any) -> Cells:
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = "D" if pa.types.is_date32(array.type) else getattr(array.type, "unit", "ms")
    sort = "duration" if pa.types.is_duration(array.type) else "datetime"
    whole = array.cast(pa.int32()).cast(pa.int64()) if unit == "D" else array.cast(pa.int64())
    ticks = pc.fill_null(whole, 0).to_numpy(zero_copy_only=False).astype(np.int64)
    zoned = pa.types.is_timestamp(array.type) and array.type.tz is not None
    return Cells(sort, ticks, missing, unit=unit, zoned=zoned)


def write(cells: Cells, told: Storage) -> Any:
    """Return an Arrow array of the type that ``told`` describes."""
    import pyarrow as pa

    kind = build(told["type"])
    if pa.types.is_dictionary(kind):
        dictionary = pa.array(list(cells.labels), type=kind.value_type)
        codes = pa.array(cells.content, mask=cells.missing).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(codes, dictionary, ordered=kind.ordered)
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return pa.array(cells.objects(), type=kind)
    if cells.sort == "label":
        view = str(kind) == "string_view"  # which pyarrow cannot take from
        labels = pa.array(list(cells.labels), type=pa.large_string() if view else kind)
        taken = labels.take(pa.array(cells.content, mask=cells.missing))
        return taken.cast(kind) if view else taken
    if cells.sort in ("datetime", "duration"):
        if pa.types.is_date32(kind):
            return pa.array(cells.content.astype(np.int32), mask=cells.missing).cast(kind)
        return pa.array(cells.content, mask=cells.missing).cast(kind)
    if pa.types.is_floating(kind):
        values = with_numpy.within(cells.numbers(), np.dtype(kind.to_pandas_dtype()))
        return pa.array(values, mask=None if told.get("nan") else cells.missing, from_pandas=False)
    dtype = np.dtype(kind.to_pandas_dtype())
    return pa.array(with_numpy.within(cells.content, dtype), type=kind, mask=cells.missing)
