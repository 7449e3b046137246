"""The formats a table comes in: each opened, named and cut into frames of bounded size."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from diffeo.errors import DataError, did_you_mean
from diffeo.tables.delimited import Delimited
from diffeo.tables.numbers import with_numbers
from diffeo.tables.numeric_schema import check_names, listed

if TYPE_CHECKING:
    import polars as pl


class Source(Protocol):
    """An opened table: the names of its columns, and its rows in frames."""

    names: list[str]

    def frames(self, rows: int, numeric: Collection[str]) -> Generator[pl.DataFrame]:
        """Yield the rows in order, at most ``rows`` at a time; text in ``numeric`` columns is parsed."""
        ...


class _Text:
    """CSV or TSV, from a file or from standard input."""

    def __init__(self, file: IO[bytes], shown: str) -> None:
        self._text = Delimited(file, shown)
        self.names = self._text.names

    def frames(self, rows: int, numeric: Collection[str]) -> Generator[pl.DataFrame]:
        for block in self._text.blocks():
            for frame in block.iter_slices(rows):
                # A column with something unreadable stays text, which to_numbers then quotes.
                yield with_numbers(frame, numeric)


class _Lazy:
    """Parquet or Arrow IPC (Feather), read slice by slice."""

    def __init__(self, scan: pl.LazyFrame) -> None:
        import polars as pl

        self._scan = scan
        self.names = scan.collect_schema().names()
        self._height = int(scan.select(pl.len()).collect().item())

    def frames(self, rows: int, numeric: Collection[str]) -> Generator[pl.DataFrame]:
        for start in range(0, self._height, rows):
            yield self._scan.slice(start, rows).collect()


class _Array:
    """A NumPy array (rows, columns), its columns named x0, x1, …; or a structured one."""

    def __init__(self, array: np.ndarray, shown: str) -> None:
        if array.dtype.names is None and array.ndim in (1, 2):
            self._array = array if array.ndim == 2 else array[:, None]
            self.names = [f"x{k}" for k in range(self._array.shape[1])]
        elif array.dtype.names is not None and array.ndim == 1:
            self._array = array
            self.names = list(array.dtype.names)
        else:
            raise DataError(
                f"{shown} holds an array of shape {array.shape} and type {array.dtype}; expected rows by "
                "columns: two dimensions, or one for a single column. Reshape it."
            )
        plain = [array.dtype[name] for name in self.names] if array.dtype.names else [array.dtype]
        if not all(kind.kind in "iufb" and not kind.subdtype for kind in plain):
            raise DataError(
                f"{shown} holds values of type {array.dtype}; expected real numbers: convert them."
            )

    def frames(self, rows: int, numeric: Collection[str]) -> Generator[pl.DataFrame]:
        import polars as pl

        for start in range(0, len(self._array), rows):
            part = self._array[start : start + rows]
            columns: dict[str, Any] = {}
            for k, name in enumerate(self.names):
                column = part[name] if part.dtype.names else part[:, k]
                columns[name] = np.ascontiguousarray(column, dtype=_known(column.dtype))
            yield pl.DataFrame(columns)


def _known(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what polars knows of a dtype: its own byte order; an older one has no half precision."""
    import polars as pl

    sizes = (4, 8) if not hasattr(pl, "Float16") else (2, 4, 8)
    known = dtype.kind != "f" or dtype.itemsize in sizes
    return dtype.newbyteorder("=") if known else np.dtype(np.float64)


_TEXT = (".csv", ".tsv")
_ARROW = (".arrow", ".feather", ".ipc")
EXTENSIONS = (*_TEXT, ".parquet", *_ARROW, ".npy", ".npz")


def is_delimited(path: str | Path) -> bool:
    """Return whether a table is text: its columns are, until somebody knows what they hold.

    >>> is_delimited("-"), is_delimited("a.TSV"), is_delimited("a.npy")
    (True, True, False)
    """
    return str(path) == "-" or Path(path).suffix.lower() in _TEXT


@contextlib.contextmanager
def open_source(path: str | Path) -> Generator[Source]:
    """Open a table by its extension; ``-`` is standard input, as CSV.

    Raises:
        DataError: the file is missing, empty, of an unknown extension, or not what its extension says.
    """
    import polars as pl

    shown = "standard input" if str(path) == "-" else repr(str(path))
    with contextlib.ExitStack() as stack:
        try:
            source = _open(path, shown, stack)
            check_names(source.names, shown)
            yield source
        except OSError as error:
            raise DataError(
                f"{shown} cannot be read ({error.strerror or error}); expected a file that its extension "
                "describes: give its name the right one, or check its permissions."
            ) from error
        except pl.exceptions.PolarsError as error:
            kind = Path(path).suffix.lstrip(".").upper()
            first = str(error).splitlines()[0]
            raise DataError(
                f"{shown} cannot be read as {kind}: {first}; expected what its extension says: give "
                "its name the right one, or write the file again."
            ) from error


def _open(path: str | Path, shown: str, stack: contextlib.ExitStack) -> Source:
    if str(path) == "-":
        return _Text(sys.stdin.buffer, shown)
    file = Path(path)
    extension = file.suffix.lower()
    if not file.exists():
        raise DataError(f"{shown} does not exist; expected a file there.{_near(file)} Check the path.")
    if not file.is_file():
        raise DataError(f"{shown} is not a file; expected one: give its name too.")
    if extension not in EXTENSIONS:
        raise DataError(
            f"{shown} has the extension {extension!r}; expected one of {', '.join(EXTENSIONS)}: convert "
            "it, or give - for CSV on standard input."
        )
    if file.stat().st_size == 0:
        raise DataError(f"{shown} is empty; expected a table of numbers: give a file that holds one.")
    if extension in _TEXT:
        return _Text(stack.enter_context(open(file, "rb")), shown)
    if extension in (".npy", ".npz"):
        return _Array(_load_array(file, shown), shown)
    return _scan(file, extension)


def _scan(file: Path, extension: str) -> _Lazy:
    import polars as pl

    # glob=False: brackets in a file's name are part of its name.
    if extension == ".parquet":
        return _Lazy(pl.scan_parquet(file, glob=False))
    return _Lazy(pl.scan_ipc(file, glob=False))


def _load_array(file: Path, shown: str) -> np.ndarray:
    """Return the array in a file; NPY stays on disk (memory-mapped). Nothing is ever unpickled."""
    try:
        if file.suffix.lower() == ".npy":
            with open(file, "rb") as opened:
                if opened.read(6) != b"\x93NUMPY":
                    raise ValueError("it does not begin as one")
            return np.load(file, mmap_mode="r", allow_pickle=False)
        # Opened here, because NumPy leaves a file that is no archive open.
        with open(file, "rb") as opened, np.load(opened, allow_pickle=False) as archive:
            keys = list(archive.files)
            if len(keys) != 1 and "X" not in keys:
                raise DataError(
                    f"{shown} holds {len(keys)} arrays: {listed(keys) or 'none'}; expected a single one, "
                    "or one named 'X'."
                )
            return archive["X" if "X" in keys else keys[0]]
    except DataError:
        raise
    except Exception as error:  # a damaged file fails in zipfile, zlib, ast or NumPy itself
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in reason or "Python objects" in reason:
            reason = "it is none, or holds Python objects, which are never loaded"
        raise DataError(
            f"{shown} cannot be read as a NumPy array: {reason}; expected an array of numbers: save one "
            "with numpy.save."
        ) from error


def _near(file: Path) -> str:
    try:
        names = [entry.name for entry in file.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(file.name, names)
