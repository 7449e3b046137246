"""Reading tables: whole, or in batches of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Generator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.errors import DataError, a_path, at_least
from diffeo.tables.numbers import typed
from diffeo.tables.sources import is_delimited, open_source

if TYPE_CHECKING:
    import polars as pl


def read_table(path: str | PathLike[str]) -> pl.DataFrame:
    r"""Return a whole table: CSV, TSV, Parquet, Arrow, NPY or NPZ by extension; ``-`` is CSV on stdin.

    The columns of an array are named x0, x1, …; of a delimited file, a column whose every value is a
    number is Int64 or Float64 (UInt64 or Int128 for whole numbers beyond Int64, which floats would merge,
    and text beyond these), one whose every value is an ISO date (2024-03-01) or time (2024-03-01
    09:30; 2024-03-01T09:30+01:00, which is read in UTC) is Date or Datetime, and any other is text. Of a
    single column, a blank line above the last row is a missing value.

    Raises:
        DataError: the file is missing, empty, has a header only, repeats a name, has ragged rows, or is
            not what its extension says.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("width,name\n1.5,ab\n2,cd\n")
    >>> read_table(file).dtypes
    [Float64, String]
    """
    import polars as pl

    given = _as_path(path)
    with open_source(given) as source:
        frames = list(source.frames(2**20, numeric=()))
        if not sum(frame.height for frame in frames):
            raise DataError(_no_rows(given, source.names))
        whole = pl.concat(frames)
    if is_delimited(given):
        whole = whole.with_columns([typed(column) for column in whole])
    return whole


def iter_batches(
    path: str | PathLike[str], columns: Collection[str] = (), rows: int = 65536
) -> Generator[pl.DataFrame]:
    r"""Yield a table in order, at most ``rows`` rows at a time, in memory bounded whatever its length.

    Args:
        path: as in :func:`read_table`.
        columns: of a delimited file, the columns whose text is read as numbers; the others stay text. A
            batch of one of these that holds something else stays text too.
        rows: the most rows a batch has.

    Raises:
        DataError: as in :func:`read_table`, as soon as the row is reached.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.csv"
    >>> _ = file.write_text("x\n1\n2\n3\n")
    >>> [batch["x"].to_list() for batch in iter_batches(file, ["x"], rows=2)]
    [[1.0, 2.0], [3.0]]
    """
    at_least("rows", rows, 1)
    given = _as_path(path)
    with open_source(given) as source:
        empty = True
        for frame in source.frames(rows, numeric=columns):
            empty = False
            yield frame
        if empty:
            raise DataError(_no_rows(given, source.names))


def _as_path(path: str | PathLike[str]) -> str | Path:
    a_path("path", path)
    return "-" if str(path) == "-" else Path(path)


def _no_rows(path: str | Path, names: list[str]) -> str:
    shown = "standard input" if str(path) == "-" else repr(str(path))
    return (
        f"{shown} has {len(names)} column(s) and no rows; expected rows of numbers below the header: "
        "add some."
    )
