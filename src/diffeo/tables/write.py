"""Writing tables row by row: in bounded memory, and never half a file."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Generator, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from diffeo.errors import ConfigError, FileError
from diffeo.files import write_atomically

if TYPE_CHECKING:
    import polars as pl

_TEXT = {".csv": ",", ".tsv": "\t"}
_ARROW = (".arrow", ".feather", ".ipc")

#: The extensions that a table can be written with.
WRITABLE = (*_TEXT, ".parquet", *_ARROW, ".npy")


class Writer(Protocol):
    """What :func:`open_writer` gives: call it with each frame, in order."""

    def __call__(self, frame: pl.DataFrame) -> None:
        """Append the rows of ``frame``."""
        ...


def check_writable(path: str | PathLike[str]) -> None:
    """Raise ConfigError for an extension, FileError for a folder, that cannot be written to."""
    if str(path) == "-":
        return
    target = Path(path)
    if target.suffix.lower() not in WRITABLE:
        raise ConfigError(
            f"output {str(path)!r} has the extension {target.suffix!r}; expected one of "
            f"{', '.join(WRITABLE)}, or - for CSV on standard output."
        )
    if not target.parent.is_dir() or target.is_dir():
        raise FileError(
            f"output {str(path)!r} cannot be written: {str(target.parent)!r} is not a folder, or the "
            "output is one. Choose a file in a folder that exists."
        )


@contextlib.contextmanager
def open_writer(path: str | PathLike[str]) -> Generator[Writer]:
    """Open a table for writing: CSV, TSV, Parquet, Arrow or NPY by extension; ``-`` is CSV on stdout.

    The file appears under its name when the block ends, whole; if the block raises, what was there before
    is untouched. In CSV and Parquet a NaN is written as a missing value, which in a CSV of one column is ""
    and not a blank line, that readers leave out.

    Raises:
        ConfigError: the extension is not one of these.
        FileError: the file cannot be written.

    >>> import polars as pl
    >>> file = Path(tempfile.mkdtemp()) / "a.parquet"
    >>> with open_writer(file) as write:
    ...     write(pl.DataFrame({"a": [1.0]}))
    ...     write(pl.DataFrame({"a": [2.0]}))
    >>> pl.read_parquet(file)["a"].to_list()
    [1.0, 2.0]
    """
    check_writable(path)
    extension = Path(path).suffix.lower()
    if str(path) == "-":
        if sys.stdout is None:
            raise FileError(
                "output '-' cannot be written: standard output is closed; expected an open one: give the "
                "output a name (-o)."
            )
        yield _Delimited(sys.stdout.buffer, ",")
        sys.stdout.buffer.flush()
        return
    with write_atomically(path) as file:
        if extension in _TEXT:
            yield _Delimited(file, _TEXT[extension])
        elif extension == ".npy":
            array = _Array(file)
            yield array
            array.finish()
        else:
            with tempfile.TemporaryDirectory(prefix=".diffeo-", dir=Path(path).parent) as folder:
                parts = _Parts(Path(folder))
                yield parts
                parts.join(file, extension)


class _Delimited:
    def __init__(self, file: IO[bytes], separator: str) -> None:
        self._file, self._separator, self._begun = file, separator, False

    def __call__(self, frame: pl.DataFrame) -> None:
        import polars as pl
        import polars.selectors as cs

        for name, dtype in frame.schema.items():
            kept = "lengths of time" if isinstance(dtype, pl.Duration) else ""
            if dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Object):
                kept = f"values of type {dtype}"
            if kept:
                raise ConfigError(
                    f"column {name!r} holds {kept}, which delimited text cannot; expected another output "
                    "format: choose .parquet or .arrow."
                )
        plain = frame.with_columns(cs.float().fill_nan(None))
        empty = '""' if frame.width == 1 else None
        text = plain.write_csv(include_header=not self._begun, separator=self._separator, null_value=empty)
        # Written by Python, so that a closed pipe is the BrokenPipeError that it is.
        self._file.write(text.encode())
        self._begun = True


class _Array:
    """An NPY file whose number of rows is known at the end: NumPy leaves room for it in the header."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rows, self._columns = file, 0, list[str]()
        self._header_length = 0

    def __call__(self, frame: pl.DataFrame) -> None:
        if not self._columns:
            self._columns = frame.columns
            self._header()
            self._header_length = self._file.tell()
        texts = [name for name, dtype in frame.schema.items() if not dtype.is_numeric()]
        if texts:
            raise ConfigError(
                f"column {texts[0]!r} is not numeric, so NPY cannot hold it; choose another output format."
            )
        self._file.write(np.ascontiguousarray(frame.to_numpy(), dtype="<f8").tobytes())
        self._rows += frame.height

    def finish(self) -> None:
        """Write the true number of rows into the header."""
        end = self._file.tell()
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._header_length:
            raise FileError(
                "this version of NumPy writes headers that cannot grow; choose .parquet or .csv."
            )
        self._file.seek(end)

    def _header(self) -> None:
        shape: Sequence[int] = (
            (self._rows, len(self._columns)) if len(self._columns) != 1 else (self._rows,)
        )
        header: dict[str, Any] = {"descr": "<f8", "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


class _Parts:
    """Frames kept aside on disk and joined at the end: Parquet and Arrow end in an index of all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._paths = folder, list[Path]()

    def __call__(self, frame: pl.DataFrame) -> None:
        import polars.selectors as cs

        path = self._folder / f"{len(self._paths):09d}.arrow"
        frame.with_columns(cs.float().fill_nan(None)).write_ipc(path, compression="lz4")
        self._paths.append(path)

    def join(self, file: IO[bytes], extension: str) -> None:
        """Write all frames, in order, into one file."""
        import polars as pl

        whole = pl.scan_ipc(self._paths, glob=False)
        if extension == ".parquet":
            whole.sink_parquet(file)
        else:
            whole.sink_ipc(file)
