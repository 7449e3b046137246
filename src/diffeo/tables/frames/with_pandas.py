"""Columns that are pandas Series: of numpy, of pandas' nullable types, of Arrow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.frames import with_numpy
from diffeo.tables.frames.cells import Cells
from diffeo.tables.frames.with_numpy import Storage


def storage(name: str, series: Any) -> Storage:
    """Return how a Series holds its values, in plain JSON."""
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories.tolist()
        of = storage(name, pd.Series(dtype.categories))
        return {"dtype": "category", "of": of, "categories": categories, "ordered": bool(dtype.ordered)}
    if isinstance(dtype, pd.StringDtype):
        return {"dtype": "string", "storage": dtype.storage, "nan": dtype.na_value is not pd.NA}
    if isinstance(dtype, pd.ArrowDtype):
        from diffeo.tables.frames.arrow_types import describe

        return {"dtype": "arrow", "arrow": describe(dtype.pyarrow_dtype)}
    if isinstance(dtype, pd.SparseDtype):
        fill = None if pd.isna(dtype.fill_value) else np.asarray(dtype.fill_value).item()
        return {"dtype": "sparse", "of": str(dtype.subtype), "fill": fill}
    if dtype.kind == "O" and isinstance(dtype, np.dtype):
        return with_numpy.storage(series.to_numpy())
    return {"dtype": str(dtype)}


def read(name: str, series: Any) -> Cells:
    """Return the cells of a Series.

    Raises:
        DataError: its dtype is none that a column can have.
    """
    import pandas as pd

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.int64)
        return Cells("label", np.maximum(codes, 0), codes < 0, _labels(name, dtype.categories.tolist()))
    if isinstance(dtype, pd.ArrowDtype):
        from diffeo.tables.frames import with_arrow

        return with_arrow.read(name, series.array.__arrow_array__())
    if isinstance(dtype, pd.StringDtype):
        codes, found = pd.factorize(series, sort=True)
        codes = codes.astype(np.int64)
        return Cells("label", np.maximum(codes, 0), codes < 0, tuple(str(label) for label in found))
    if isinstance(dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
        return replace(with_numpy.read(name, series.to_numpy()), zoned=True)
    if isinstance(dtype, pd.SparseDtype):
        return with_numpy.read(name, series.sparse.to_dense().to_numpy())
    if isinstance(dtype, np.dtype):
        return with_numpy.read(name, series.to_numpy())
    numpy_dtype = getattr(dtype, "numpy_dtype", None)
    if numpy_dtype is not None:  # nullable integers, floats, booleans
        missing = series.isna().to_numpy(dtype=bool)
        filled = series.fillna(dtype.type(0)).to_numpy(dtype=numpy_dtype)
        cells = with_numpy.read(name, filled)
        missing = missing | cells.missing
        content = np.where(missing, np.nan, cells.content) if cells.sort == "float" else cells.content
        return replace(cells, content=content, missing=missing)
    raise DataError(
        f"column {name!r} has dtype {dtype}; expected numbers, truth values, text, categories or dates: "
        "turn it into one of these, for example with .astype(str)."
    )


def _labels(name: str, categories: list[Any]) -> tuple[Any, ...]:
    for category in categories:
        if not isinstance(category, str | int | float):
            raise DataError(
                f"column {name!r} has categories that are of type {type(category).__name__}; expected "
                "text or numbers: turn the column into text with .astype(str)."
            )
    return tuple(categories)


def write(cells: Cells, told: Storage) -> Any:
    """Return a Series of the dtype that ``told`` describes."""
    import pandas as pd

    dtype = told["dtype"]
    if dtype == "category":
        index = pd.Index(write(_of_labels(told["categories"]), told["of"]))
        wanted = {label: k for k, label in enumerate(told["categories"])}
        places = np.array([wanted[label] for label in cells.labels] or [0], dtype=np.int64)
        codes = np.where(cells.missing, -1, places[cells.content])
        return pd.Series(
            pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(index, ordered=told["ordered"]))
        )
    if dtype == "arrow":
        from diffeo.tables.frames import with_arrow
        from diffeo.tables.frames.arrow_types import build

        array = with_arrow.write(cells, {"type": told["arrow"]})
        return pd.Series(pd.arrays.ArrowExtensionArray(array), dtype=pd.ArrowDtype(build(told["arrow"])))
    if dtype == "string":
        kept = pd.StringDtype(told["storage"], na_value=np.nan if told["nan"] else pd.NA)
        return pd.Series(with_numpy.values_of(cells), dtype=kept)
    if dtype == "sparse":
        whole = pd.Series(with_numpy.write(cells, {"dtype": told["of"]}))
        fill = np.nan if told["fill"] is None else told["fill"]
        return whole.astype(pd.SparseDtype(np.dtype(told["of"]), fill))
    if dtype == "object":
        return pd.Series(with_numpy.write(cells, told), dtype=object)
    kept = pd.api.types.pandas_dtype(dtype)
    if isinstance(kept, np.dtype):
        return pd.Series(with_numpy.write(cells, told))
    if isinstance(kept, pd.DatetimeTZDtype):
        naive = pd.Series(with_numpy.values_of(cells).astype(f"datetime64[{kept.unit}]"))
        return naive.dt.tz_localize("UTC").dt.tz_convert(kept.tz)
    numpy_dtype = getattr(kept, "numpy_dtype", None)
    if numpy_dtype is None:
        return pd.Series(with_numpy.values_of(cells)).astype(kept)
    whole = Cells(cells.sort, cells.content, np.zeros(len(cells), dtype=bool), cells.labels, cells.decimals)
    series = pd.Series(with_numpy.write(whole, {"dtype": str(numpy_dtype)})).astype(kept)
    return series.mask(pd.Series(cells.missing), pd.NA)


def _of_labels(labels: list[Any]) -> Cells:
    return Cells("label", np.arange(len(labels)), np.zeros(len(labels), dtype=bool), tuple(labels))
