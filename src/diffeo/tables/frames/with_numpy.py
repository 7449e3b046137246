"""Columns that are numpy arrays: read to cells, and written with the dtype that they had."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.tables.frames.cells import TICKS, Cells
from diffeo.tables.frames.objects import absent, read_objects

Storage = dict[str, Any]


def storage(array: NDArray[Any]) -> Storage:
    """Return how an array holds its values, in plain JSON."""
    told: Storage = {"dtype": array.dtype.str if array.dtype.kind in "Mm" else str(array.dtype)}
    if array.dtype.kind == "O":
        gone = [value for value in array.tolist() if absent(value)]
        told["missing"] = "nan" if gone and isinstance(gone[0], float) else "none"
    return told


def read(name: str, array: NDArray[Any]) -> Cells:
    """Return the cells of an array of one dimension.

    Raises:
        DataError: its dtype is complex, bytes, a structure or something else that is no column.
    """
    kind, complete = array.dtype.kind, np.zeros(len(array), dtype=bool)
    if kind == "b":
        return Cells("label", array.astype(np.int64), complete, (False, True))
    if kind in "iu":
        wide = np.uint64 if array.dtype == np.uint64 else np.int64
        info = np.iinfo(array.dtype)
        small = array.dtype.itemsize < 8 or kind == "u"
        limits = (int(info.min), int(info.max)) if small else None
        return Cells("whole", array.astype(wide), complete, limits=limits)
    if kind == "f":
        values = array.astype(np.float64)
        precision = str(array.dtype) if array.dtype.itemsize < 8 else "float64"
        return Cells("float", values, np.isnan(values), precision=precision)
    if kind in "Mm":
        return _read_times(name, array)
    if kind == "U":
        labels, codes = np.unique(array, return_inverse=True)
        return Cells("label", codes.astype(np.int64), complete, tuple(labels.tolist()))
    if kind in "OT":
        return read_objects(name, array.tolist())
    raise DataError(
        f"column {name!r} has dtype {array.dtype}; expected numbers, truth values, text or dates: turn it "
        "into one of these (bytes with .astype(str), complex numbers into real and imaginary part)."
    )


def _read_times(name: str, array: NDArray[Any]) -> Cells:
    unit, count = np.datetime_data(array.dtype)
    if unit == "generic" or (unit in "YM" and array.dtype.kind == "m"):
        raise DataError(
            f"column {name!r} has dtype {array.dtype}, which is no fixed length of time; expected seconds "
            "or days: convert it."
        )
    if unit not in TICKS or count != 1:
        array = array.astype("datetime64[s]" if array.dtype.kind == "M" else "timedelta64[s]")
        unit = "s"
    sort = "datetime" if array.dtype.kind == "M" else "duration"
    ticks = np.ascontiguousarray(array).view(np.int64)
    missing = np.isnat(array)
    return Cells(sort, np.where(missing, 0, ticks), missing, unit=unit)


def within(numbers: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers rounded and clipped to what ``dtype`` can hold (a sample may leave its range).

    >>> within(np.array([1.0, 300.0]), np.dtype("uint8")).tolist()
    [1, 255]
    """
    if dtype.kind == "f":
        limit = np.finfo(dtype)
        return np.clip(numbers, float(limit.min), float(limit.max)).astype(dtype)
    if dtype.kind not in "iu":
        return numbers.astype(dtype)
    limits = np.iinfo(dtype)
    if numbers.dtype.kind == "f":
        numbers = np.rint(np.nan_to_num(numbers))
        # float(2**63 − 1) is 2**63: the last float below is what fits.
        top = (
            np.nextafter(float(limits.max), 0) if int(float(limits.max)) > limits.max else float(limits.max)
        )
        return np.clip(numbers, float(limits.min), top).astype(dtype)
    if dtype == np.uint64:
        return np.maximum(numbers, 0).astype(dtype) if numbers.dtype.kind == "i" else numbers
    if numbers.dtype.kind == "u":
        return np.minimum(numbers, np.uint64(limits.max)).astype(dtype)
    return np.clip(numbers, limits.min, limits.max).astype(dtype)


def values_of(cells: Cells) -> NDArray[Any]:
    """Return the cells as an array of the dtype that their sort has; missing is NaN, NaT or None."""
    if cells.sort == "label":
        labels = np.empty(len(cells.labels) + 1, dtype=object)
        labels[:-1] = cells.labels
        labels[-1] = None
        return labels[np.where(cells.missing, len(cells.labels), cells.content)]
    if cells.sort in ("datetime", "duration"):
        kind = "datetime64" if cells.sort == "datetime" else "timedelta64"
        ticks = np.where(cells.missing, np.iinfo(np.int64).min, cells.content)
        return ticks.view(f"{kind}[{cells.unit}]")
    if cells.sort == "whole" and not cells.missing.any():
        return cells.content
    return cells.numbers()


def write(cells: Cells, told: Storage) -> NDArray[Any]:
    """Return an array of the dtype that ``told`` names."""
    dtype = np.dtype(told["dtype"])
    if dtype.kind == "O":
        gone = np.nan if told.get("missing") == "nan" else None
        array = np.empty(len(cells), dtype=object)
        array[:] = [gone if value is None else value for value in cells.objects()]
        return array
    values = values_of(cells)
    if dtype.kind in "iuf" and values.dtype.kind in "iuf":
        return within(values, dtype)
    return values.astype(dtype)
