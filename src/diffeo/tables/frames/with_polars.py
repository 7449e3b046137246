"""Columns that are polars Series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.frames import with_numpy
from diffeo.tables.frames.cells import TICKS, Cells
from diffeo.tables.frames.objects import read_objects
from diffeo.tables.frames.with_numpy import Storage


def storage(series: Any) -> Storage:
    """Return how a Series holds its values, in plain JSON."""
    import polars as pl

    dtype = series.dtype
    told: Storage = {"dtype": str(dtype.base_type())}
    if isinstance(dtype, pl.Datetime | pl.Duration):
        told["unit"] = dtype.time_unit
    if isinstance(dtype, pl.Datetime):
        told["zone"] = dtype.time_zone
    if isinstance(dtype, pl.Enum):
        told["categories"] = dtype.categories.to_list()
    if isinstance(dtype, pl.Decimal):
        told["digits"] = [dtype.precision, dtype.scale]
    if dtype.is_float():
        told["nan"] = not series.null_count()
    return told


def _dtype(told: Storage) -> Any:
    import polars as pl

    family = getattr(pl, told["dtype"])
    if "categories" in told:
        return pl.Enum(told["categories"])
    if "digits" in told:
        return pl.Decimal(*told["digits"])
    if "unit" in told:
        return pl.Datetime(told["unit"], told["zone"]) if "zone" in told else pl.Duration(told["unit"])
    return family


def read(name: str, series: Any) -> Cells:
    """Return the cells of a Series.

    Raises:
        DataError: its dtype is none that a column can have.
    """
    import polars as pl

    dtype, missing = series.dtype, series.is_null().to_numpy()
    if dtype == pl.Null:
        return Cells("label", np.zeros(len(series), dtype=np.int64), missing)
    if dtype == pl.Boolean:
        return Cells("label", series.cast(pl.Int64).fill_null(0).to_numpy(), missing, (False, True))
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        if dtype != pl.Enum:
            text = series.cast(pl.String)
            series = text.cast(pl.Enum(text.unique().drop_nulls().sort()))
        codes = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
        return Cells("label", codes, missing, tuple(series.dtype.categories.to_list()))
    if dtype.is_integer():
        small = dtype not in (pl.Int128, getattr(pl, "UInt128", None))
        if not small:
            return read_objects(name, series.to_list())
        whole = with_numpy.read(name, series.fill_null(0).to_numpy())
        return replace(whole, missing=missing)
    if dtype.is_float():
        return with_numpy.read(name, series.fill_null(float("nan")).to_numpy())
    if dtype.is_decimal():
        return read_objects(name, series.to_list())
    if dtype in (pl.Datetime, pl.Duration, pl.Date):
        unit = getattr(dtype, "time_unit", "D")
        ticks = series.to_physical().cast(pl.Int64).fill_null(0).to_numpy()
        zoned = getattr(dtype, "time_zone", None) is not None
        sort = "duration" if dtype == pl.Duration else "datetime"
        return Cells(sort, ticks, missing, unit=unit, zoned=zoned)
    if dtype == pl.Object:
        return read_objects(name, series.to_list())
    raise DataError(
        f"column {name!r} has the polars type {dtype}; expected numbers, truth values, text or dates: "
        "cast it to one of these, or leave it out."
    )


def plain(cells: Cells) -> tuple[Cells, Storage]:
    """Return cells and the dtype that they have in polars if nothing is known of another.

    >>> plain(Cells("datetime", np.array([86400]), np.array([False]), unit="s"))[1]
    {'dtype': 'Datetime', 'unit': 'ms', 'zone': None}
    """
    if cells.sort == "float":
        return cells, {"dtype": "Float64"}
    if cells.sort == "whole":
        return cells, {"dtype": "UInt64" if cells.content.dtype.kind == "u" else "Int64"}
    if cells.sort == "decimal":
        return cells, {"dtype": "Decimal", "digits": [38, cells.decimals]}
    if cells.sort == "label":
        kinds = {type(label) for label in cells.labels}
        if kinds == {bool}:
            return cells, {"dtype": "Boolean"}
        if kinds == {int}:
            numbers = [label for label in cells.labels if isinstance(label, int)]
            if min(numbers) >= -(2**63) and max(numbers) < 2**63:
                return cells, {"dtype": "Int64"}
            if min(numbers) >= 0 and max(numbers) < 2**64:
                return cells, {"dtype": "UInt64"}
        elif kinds and kinds <= {int, float}:
            return cells, {"dtype": "Float64"}
        return replace(cells, labels=tuple(str(label) for label in cells.labels)), {"dtype": "String"}
    if cells.sort == "datetime" and cells.unit == "D":
        return cells, {"dtype": "Date"}
    if cells.unit in ("D", "s"):  # polars counts in thousandths of a second at the coarsest
        ratio = int(TICKS["ms"] / TICKS[cells.unit])
        cells = replace(cells, content=cells.content * ratio, unit="ms")
    if cells.sort == "duration":
        return cells, {"dtype": "Duration", "unit": cells.unit}
    return cells, {"dtype": "Datetime", "unit": cells.unit, "zone": "UTC" if cells.zoned else None}


def write(cells: Cells, told: Storage) -> Any:
    """Return a Series of the dtype that ``told`` describes; of the plain one if it says nothing."""
    import polars as pl

    if not told:
        cells, told = plain(cells)
    dtype = _dtype(told)
    if dtype.is_decimal() or dtype in (pl.Null, pl.Object, pl.Int128, getattr(pl, "UInt128", pl.Int128)):
        return pl.Series(cells.objects(), dtype=dtype)
    if cells.sort == "label":
        labels = pl.Series(
            list(cells.labels), dtype=pl.String if dtype in (pl.Categorical, pl.Enum) else dtype
        )
        codes = pl.Series(cells.content, dtype=pl.Int64)
        chosen = labels.gather(codes) if len(labels) else pl.Series([None] * len(cells), dtype=labels.dtype)
        return _without(chosen, cells).cast(dtype)
    if cells.sort in ("datetime", "duration"):
        ticks = pl.Series(cells.content, dtype=pl.Int64)
        return _without(ticks.cast(pl.Int32) if dtype == pl.Date else ticks, cells).cast(dtype)
    if dtype.is_float():
        values = pl.Series(with_numpy.within(cells.numbers(), np.dtype(told["dtype"].lower())))
        return values if told.get("nan") else _without(values, cells)
    return _without(pl.Series(with_numpy.within(cells.content, np.dtype(told["dtype"].lower()))), cells)


def _without(series: Any, cells: Cells) -> Any:
    import polars as pl

    if not cells.missing.any():
        return series
    gone = pl.Series(cells.missing)
    return pl.select(pl.when(gone).then(None).otherwise(series)).to_series()
