"""Delimited text (CSV, TSV) in blocks: bounded memory, rows counted, nothing guessed from a sample.

The text is cut at line ends outside quotes, each block is checked (UTF-8, the same number of fields in
every row) and then parsed by polars as text. Which columns are numbers is decided from all of their
values, later. A byte order mark, Windows line ends, quoted numbers and blank lines are all understood;
the separator is the comma or, where the header has none, the semicolon, tab or bar that it does have.

Blank lines are no rows, with one exception: of a file of one column, whose empty field is a blank line,
those between the header and the last row are missing values. So is "" there, which can also be last.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Generator
from typing import IO, TYPE_CHECKING

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.numeric_schema import check_names

if TYPE_CHECKING:
    import polars as pl

#: Bytes of text parsed at a time.
BLOCK = 8 * 2**20

#: A single row longer than this is taken for a quote that was never closed.
_LONGEST_ROW = 64 * 2**20

_QUOTE, _NEWLINE = 34, 10


class Delimited:
    """A delimited text being read, once, from a binary stream: ``names``, then ``blocks()``."""

    def __init__(self, file: IO[bytes], shown: str, block: int = BLOCK) -> None:
        self._file, self._shown, self._block = file, shown, block
        self._rest, self._ended, self._blank = b"", False, 0
        start = file.read(block)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{shown} is UTF-16 text; expected UTF-8: save it as that and try again.")
        start = start.removeprefix(b"\xef\xbb\xbf")
        # Line ends of the old Macintosh: a carriage return alone.
        self._carriage = b"\r" in start and b"\n" not in start
        self._rest = self._line_ends(start)
        header = self._header()
        self.separator = _separator(header)
        cells = next(csv.reader([header], delimiter=self.separator), [])
        self.names = [cell.strip() for cell in cells]
        check_names(self.names, shown)
        _warn_of_numbers(self.names, shown)

    def blocks(self) -> Generator[pl.DataFrame]:
        """Yield the rows as frames of text, in order; an empty field is missing (null).

        Raises:
            DataError: a row has more or fewer fields than the header, a quote is not closed, or the text
                is not UTF-8.
        """
        import polars as pl

        row = 1
        while True:
            text, fields = self._take(row)
            if text is None:
                return
            if not fields.size:
                continue
            wrong = np.flatnonzero(fields != len(self.names))
            if wrong.size:
                found = int(fields[wrong[0]])
                raise DataError(
                    f"{self._shown} row {row + int(wrong[0])} has {found} field(s); expected "
                    f"{len(self.names)}, as the header has. Mend that row; a field that contains "
                    f"{self.separator!r} or a line "
                    'end is written in double quotes, and a double quote in it as "".'
                )
            try:
                frame = pl.read_csv(
                    text,
                    has_header=False,
                    separator=self.separator,
                    schema=dict.fromkeys(self.names, pl.String),
                    infer_schema=False,
                )
            except pl.exceptions.PolarsError as error:
                raise DataError(
                    f"{self._shown} cannot be parsed at rows {row} to {row + fields.size - 1}: "
                    f"{str(error).splitlines()[0]}. Is a quote misplaced there?"
                ) from error
            # Of one column, "" is how pandas and diffeo write what is missing.
            yield frame if frame.width > 1 else frame.select(pl.all().replace("", None))
            row += fields.size

    def _line_ends(self, text: bytes) -> bytes:
        return text.replace(b"\r", b"\n") if self._carriage else text

    def _more(self) -> None:
        """Read one more block behind what is left; at the end, close the last line."""
        text = self._line_ends(self._file.read(self._block))
        if not text:
            self._ended = True
            if self._rest and not self._rest.endswith(b"\n"):
                text = b"\n"
        self._rest += text

    def _header(self) -> str:
        while True:
            ends = _row_ends(self._rest)
            filled = [k for k in range(min(ends.size, 100)) if self._between(ends, k).strip()]
            if filled:
                line = self._between(ends, filled[0])
                self._rest = self._rest[int(ends[filled[0]]) + 1 :]
                return self._decoded(line).strip("\r\n")
            if self._ended:
                raise DataError(
                    f"{self._shown} is empty; expected a header line with the names of the columns, "
                    "then rows of numbers: add them."
                )
            self._check_length(0)
            self._more()

    def _between(self, ends: np.ndarray, k: int) -> bytes:
        return self._rest[(int(ends[k - 1]) + 1 if k else 0) : int(ends[k])]

    def _take(self, row: int) -> tuple[bytes | None, np.ndarray]:
        """Return the complete rows at hand, and each one's number of fields.

        They are without blank lines, those aside that are missing values of a single column.
        """
        none = np.zeros(0, np.int64)
        while True:
            ends = _row_ends(self._rest)
            if ends.size:
                break
            if self._ended:
                if self._rest.strip():
                    raise DataError(
                        f"{self._shown} ends inside a double quote that row {row} or a later one opens; "
                        "expected another to end it: close it."
                    )
                return None, none
            self._check_length(row)
            self._more()
        cut = int(ends[-1]) + 1
        text, self._rest = self._rest[:cut], self._rest[cut:]
        self._decoded(text)
        if b"\r\n" in text:
            text = text.replace(b"\r\n", b"\n")
            ends = _row_ends(text)
        starts = np.concatenate([[0], ends[:-1] + 1])
        blank = starts == ends
        if len(self.names) == 1:
            text = self._with_holes(text, ends, np.flatnonzero(~blank))
            ends = _row_ends(text)
        elif blank.any():
            text = np.delete(np.frombuffer(text, np.uint8), ends[blank]).tobytes()
            ends = _row_ends(text)
        separators = _outside_quotes(text, ord(self.separator))
        before = np.concatenate([[0], np.searchsorted(separators, ends)])
        return text, np.diff(before) + 1

    def _with_holes(self, text: bytes, ends: np.ndarray, filled: np.ndarray) -> bytes:
        """Return lines up to the last that is filled; blank ones after it wait for another that is."""
        before, last = self._blank, int(filled[-1]) if filled.size else -1
        self._blank = len(ends) - 1 - last
        if last < 0:
            self._blank += before
            return b""
        return b"\n" * before + text[: int(ends[last]) + 1]

    def _decoded(self, text: bytes) -> str:
        try:
            if b"\x00" in text:
                raise DataError(
                    f"{self._shown} holds a NUL byte (0x00); expected text: convert it, or check the file."
                )
            return text.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._shown} is not UTF-8 text: it holds the byte 0x{text[error.start]:02x} after "
                f"{text[max(0, error.start - 20) : error.start]!r}; expected it to be: save it as UTF-8 "
                "and try again."
            ) from error

    def _check_length(self, row: int) -> None:
        if len(self._rest) > _LONGEST_ROW:
            raise DataError(
                f"{self._shown} row {row} does not end within {_LONGEST_ROW // 2**20} MiB: a double quote "
                "is not closed, or this is not delimited text."
            )


def _row_ends(text: bytes) -> np.ndarray:
    return _outside_quotes(text, _NEWLINE)


def _outside_quotes(text: bytes, byte: int) -> np.ndarray:
    """Return the positions of ``byte`` outside double quotes."""
    codes = np.frombuffer(text, np.uint8)
    found = codes == byte
    if b'"' in text:
        # A doubled quote inside a field closes and opens again: parity is all that counts.
        found &= (np.cumsum(codes == _QUOTE, dtype=np.uint8) & 1) == 0
    return np.flatnonzero(found)


def _warn_of_numbers(names: list[str], shown: str) -> None:
    try:
        for name in names:
            float(name)
    except ValueError:
        return
    warnings.warn(
        f"{shown}: every column name is a number ({', '.join(names[:3])}), as if the first row of data "
        "stood in the header's place. If so, put a line with the names of the columns before it.",
        UserWarning,
        stacklevel=2,
    )


def _separator(header: str) -> str:
    text = header.encode()
    for separator in (",", ";", "\t", "|"):
        if _outside_quotes(text, ord(separator)).size:
            return separator
    return ","
