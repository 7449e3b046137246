"""Tables of every library as one: columns by name, each with its cells, and the way back.

numpy arrays, pandas, polars and pyarrow tables come back as what they were. Lazy frames are collected, and
frames of other libraries that narwhals knows are read through Arrow, and come back as Arrow tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.tables.frames import with_numpy, with_pandas
from diffeo.tables.frames.cells import Cells
from diffeo.tables.numeric_schema import check_names


@dataclass(frozen=True)
class Frame:
    """A table that was given: the library that holds it, and its columns.

    Attributes:
        library: "numpy", "pandas", "polars" or "pyarrow".
        names: the columns' names as text.
        keys: the names as the library has them (whole numbers in pandas, say).
        columns: the columns as the library has them.
        dtype: of an array, its dtype; else "".
    """

    library: str
    names: tuple[str, ...]
    keys: tuple[Any, ...]
    columns: tuple[Any, ...]
    rows: int
    dtype: str = ""

    def read(self, k: int) -> Cells:
        """Return the cells of column ``k``."""
        name, column = self.names[k], self.columns[k]
        if self.library == "numpy":
            return with_numpy.read(name, column)
        if self.library == "pandas":
            return with_pandas.read(name, column)
        if self.library == "polars":
            from diffeo.tables.frames import with_polars

            return with_polars.read(name, column)
        from diffeo.tables.frames import with_arrow

        return with_arrow.read(name, column)

    def storage(self, k: int) -> dict[str, Any]:
        """Return how column ``k`` holds its values, in plain JSON."""
        name, column = self.names[k], self.columns[k]
        if self.library == "numpy":
            return with_numpy.storage(column)
        if self.library == "pandas":
            return with_pandas.storage(name, column)
        if self.library == "polars":
            from diffeo.tables.frames import with_polars

            return with_polars.storage(column)
        from diffeo.tables.frames import with_arrow

        return with_arrow.storage(column)


def open_frame(data: Any) -> Frame:
    """Return the columns of a table.

    Raises:
        DataError: ``data`` is no table, has no columns, or two of one name.

    >>> frame = open_frame(np.zeros((3, 2)))
    >>> frame.names, frame.rows
    (('x0', 'x1'), 3)
    """
    if isinstance(data, Frame):
        return data
    if isinstance(data, np.ndarray | list | tuple):
        return _open_array(data)
    import narwhals as nw

    try:
        frame = nw.from_native(data)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
    except nw.exceptions.DuplicateError as error:
        check_names([str(name) for name in data.columns], "data")
        raise DataError(f"data has two columns of one name ({error}); give each its own.") from error
    except TypeError as error:
        raise DataError(
            f"data is a {type(data).__name__}; expected a table: a numpy array (rows, columns), or a data "
            "frame of pandas, polars or pyarrow. Convert it to one."
        ) from error
    library = str(frame.implementation).lower()
    if library not in ("pandas", "polars", "pyarrow"):
        return open_frame(frame.to_arrow())
    return _open_native(library, frame.to_native())


def _open_native(library: str, native: Any) -> Frame:
    if library == "pandas":
        keys = tuple(native.columns)
        columns = tuple(native.iloc[:, k] for k in range(len(keys)))
    else:
        keys = tuple(native.columns if library == "polars" else native.column_names)
        columns = tuple(native[name] for name in keys)
    if not all(isinstance(key, str | int | np.integer) for key in keys):
        odd = next(key for key in keys if not isinstance(key, str | int | np.integer))
        raise DataError(
            f"data has a column whose name is the {type(odd).__name__} {odd!r:.60}; expected text: rename "
            "it (several levels of names can be joined to one)."
        )
    keys = tuple(int(key) if not isinstance(key, str) else key for key in keys)
    check_names([str(key) for key in keys], "data")
    return Frame(library, tuple(map(str, keys)), keys, columns, len(native))


def array_of(data: Any) -> NDArray[Any]:
    """Return an array, with the cells of lists as they are: numpy makes texts of mixed ones.

    >>> array_of([[0, "a"], [1, "b"]]).tolist()
    [[0, 'a'], [1, 'b']]
    """
    array = np.asarray(data)
    if array.dtype.kind != "U" or array.ndim != 2 or isinstance(data, np.ndarray):
        return array
    whole = np.array(data, dtype=object)
    return array if all(isinstance(cell, str) for cell in whole.flat) else whole


def _open_array(data: Any) -> Frame:
    try:
        array = array_of(data)
    except ValueError as error:
        raise DataError(
            "data is a list of rows of different lengths; expected one length: fill them."
        ) from error
    if array.ndim != 2:
        raise DataError(
            f"data has shape {array.shape}; expected (rows, columns): reshape it, with data.reshape(-1, "
            "1) if it is one column."
        )
    names = [f"x{k}" for k in range(array.shape[1])]
    check_names(names, "data")
    dtype = with_numpy.storage(array[:, :0].reshape(-1))["dtype"]
    return Frame("numpy", tuple(names), tuple(names), tuple(array.T), len(array), dtype)


def write_frame(
    library: str,
    keys: Sequence[Any],
    cells: Sequence[Cells],
    storages: Sequence[dict[str, Any]],
    dtype: str,
) -> Any:
    """Return a table of ``library`` with these columns: what :func:`open_frame` read, written."""
    if library == "numpy":
        columns = [with_numpy.write(c, told) for c, told in zip(cells, storages, strict=True)]
        return np.stack(columns, axis=1).astype(dtype, copy=False)
    if library == "pandas":
        import pandas as pd

        series = [with_pandas.write(c, told) for c, told in zip(cells, storages, strict=True)]
        frame = pd.concat(series, axis=1)
        frame.columns = pd.Index(list(keys))
        return frame
    if library == "polars":
        import polars as pl

        from diffeo.tables.frames import with_polars

        # By name: of a list of series polars would call one that is called "" by a name of its own.
        return pl.DataFrame(
            {key: with_polars.write(c, told) for key, c, told in zip(keys, cells, storages, strict=True)}
        )
    import pyarrow as pa

    from diffeo.tables.frames import with_arrow

    arrays = [with_arrow.write(c, told) for c, told in zip(cells, storages, strict=True)]
    return pa.table(arrays, names=list(keys))
