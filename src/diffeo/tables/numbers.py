"""From columns to float64: what counts as a number, and what is said about what does not."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.errors import DataError
from diffeo.tables.numeric_schema import listed
from diffeo.tables.times import parse_times

if TYPE_CHECKING:
    import polars as pl

#: Texts that mean "no value" in a delimited file, besides the empty field.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")

#: Digits of a whole number, at most, that it is not a float for.
_LONGEST = 100
_INT128 = 2.0**126
_DIGITS = Context(prec=2 * _LONGEST)


def parse_text(texts: pl.Series) -> pl.Series:
    """Return the numbers written in a column of text; missing and unreadable values are null.

    >>> import polars as pl
    >>> parse_text(pl.Series(["1", " 2.5 ", "NA", "abc", "1e400"])).to_list()
    [1.0, 2.5, None, None, inf]
    """
    import polars as pl

    return stripped_of(texts).cast(pl.Float64, strict=False)


def stripped_of(texts: pl.Series) -> pl.Series:
    """Return texts without spaces around them; null for those that mean that there is no value."""
    stripped = texts.str.strip_chars()
    return stripped.set(stripped.is_in(MISSING), None)


def unreadable(texts: pl.Series, parsed: pl.Series) -> pl.Series:
    """Return where a text is neither a number nor a sign that there is no value."""
    present = texts.is_not_null() & ~texts.str.strip_chars().is_in(MISSING).fill_null(True)
    return present & parsed.is_null()


def with_numbers(frame: pl.DataFrame, numeric: Collection[str]) -> pl.DataFrame:
    """Return a frame of text with these columns as numbers; one that holds something else stays text.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"a": ["1", "NA"], "b": ["01", "x"]})
    >>> with_numbers(frame, ["a", "b"]).to_dict(as_series=False)
    {'a': [1.0, None], 'b': ['01', 'x']}
    """
    columns = {name: parse_text(frame[name]) for name in frame.columns if name in numeric}
    return frame.with_columns(
        [parsed for name, parsed in columns.items() if not unreadable(frame[name], parsed).any()]
    )


def typed(texts: pl.Series) -> pl.Series:
    """Return a column of text as Int64 or Float64 if all of its values are numbers, else as it is.

    Whole numbers that Int64 does not hold are UInt64 or Int128, and text where these do not hold them: as
    Float64 different ones would be the same. Where one is beyond that too, of more than 308 digits, the
    column is Float64, and infinite there. If all are dates in the one form of :mod:`diffeo.tables.times`,
    the column is Date or Datetime.

    >>> import polars as pl
    >>> typed(pl.Series(["1", None, "2"])).dtype, typed(pl.Series(["1", "x"])).dtype
    (Int64, String)
    >>> typed(pl.Series(["18446744073709551615"])).dtype, typed(pl.Series(["-1", "1" + 20 * "0"])).dtype
    (UInt64, Int128)
    """
    import polars as pl

    parsed = parse_text(texts)
    if unreadable(texts, parsed).any():
        times = parse_times(stripped_of(texts))
        return texts if times is None else times
    found = _whole(texts, parsed, pl.Int64, pl.UInt64, pl.Int128)
    far = parsed.abs() > _INT128
    if found.dtype.is_float() and bool(far.any()) and not bool(parsed.is_infinite().any()):
        whole = stripped_of(texts).drop_nulls().str.contains(r"^[+-]?\d+$").all()
        return texts if whole else found
    return found


def whole_or_real(texts: pl.Series) -> pl.Series | None:
    """Return a column of text as Int64, UInt64 or Float64, or None where one of its values is no number.

    >>> import polars as pl
    >>> whole_or_real(pl.Series(["9007199254740993", "NA"])).to_list()
    [9007199254740993, None]
    """
    import polars as pl

    parsed = parse_text(texts)
    return None if unreadable(texts, parsed).any() else _whole(texts, parsed, pl.Int64, pl.UInt64)


def each_number(texts: pl.Series, decimals: int = 0) -> list[int | float | str | None]:
    """Return each cell of a column of text by itself: a number, the text where it is none, None if missing.

    A number is in units of 10^−decimals, and an int where it is whole, however long.

    >>> import polars as pl
    >>> each_number(pl.Series(["2.0", " 9007199254740993", "NA", "x", "1.5"]))
    [2, 9007199254740993, None, 'x', 1.5]
    >>> each_number(pl.Series(["1234567890123456789012345678901234567891"]))
    [1234567890123456789012345678901234567891]
    >>> each_number(pl.Series(["1.25", "-2"]), decimals=2)
    [125, -200]
    """
    stripped = stripped_of(texts)
    numbers = parse_text(texts).is_not_null().to_list()
    return [
        _number(text, decimals) if number and text is not None else text
        for text, number in zip(stripped.to_list(), numbers, strict=True)
    ]


def _number(text: str, decimals: int) -> int | float | str:
    number = Decimal(text)
    if not number.is_finite() or number.adjusted() >= _LONGEST:
        return float(number)
    number = number.scaleb(decimals, _DIGITS)
    if number == number.to_integral_value():
        return int(number)
    # A float that is whole would be another number.
    return text if float(number).is_integer() else float(number)


def _whole(texts: pl.Series, parsed: pl.Series, *dtypes: Any) -> pl.Series:
    """Return the numbers in texts as the first of these dtypes that holds them all, else ``parsed``."""
    for dtype in dtypes:
        whole = texts.str.strip_chars().cast(dtype, strict=False)
        if whole.null_count() == parsed.null_count() < len(texts):
            return whole
    return parsed


def to_numbers(frame: pl.DataFrame, names: Sequence[str], first_row: int = 1) -> np.ndarray:
    """Return the named columns as a float64 array (rows, columns), a missing value as NaN.

    Integers, floats and decimals are numbers. ``first_row`` is the number of the frame's first row in the
    whole table, for messages.

    Raises:
        DataError: a column is not numeric; it names column, type, an example and its row.
    """
    import polars as pl

    values = np.empty((frame.height, len(names)), dtype=np.float64)
    others = [name for name in names if not _numeric(frame[name].dtype)]
    if others:
        raise DataError(_not_numeric(frame, others, first_row))
    for j, name in enumerate(names):
        values[:, j] = frame[name].cast(pl.Float64).to_numpy()
    return values


def drop_remedy(names: Sequence[str]) -> str:
    """Return how to leave columns out, in Python and on the command line.

    >>> drop_remedy(["my id"])
    "drop=['my id'], on the command line --drop 'my id'"
    """
    flags = " ".join(f"--drop {shlex.quote(name)}" for name in names[:8])
    return f"drop={list(names[:8])!r}, on the command line {flags}"


def check_finite(values: np.ndarray, names: Sequence[str], first_row: int, remedy: str) -> None:
    """Raise :class:`DataError` naming column and row unless every value is a finite number."""
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    columns = np.flatnonzero(bad.any(0))
    column = int(columns[0])
    row = int(np.flatnonzero(bad[:, column])[0])
    value = values[row, column]
    what = "a missing value" if np.isnan(value) else f"an infinite value ({value:+})"
    others = [names[int(k)] for k in columns[1:]]
    raise DataError(
        f"column {names[column]!r} has {what} in row {row + first_row} "
        f"({int(bad[:, column].sum())} of {len(values)} values are missing or infinite"
        + (f"; so have {listed(others)}" if others else "")
        + f"); expected numbers. {remedy}"
    )


def _numeric(dtype: Any) -> bool:
    import polars as pl

    # A column of type Null has no value at all: it is missing everywhere.
    return dtype.is_numeric() or dtype == pl.Null


def _not_numeric(frame: pl.DataFrame, names: Sequence[str], first_row: int) -> str:
    import polars as pl

    column = frame[names[0]]
    present = column.is_not_null()
    if column.dtype == pl.String:
        odd = unreadable(column, parse_text(column))
        present = odd if odd.any() else present
    where = present.arg_max()
    example = "it has no value"
    if where is not None and present[where]:
        example = f"row {where + first_row} holds {column[where]!r:.60}"
    also = f" Neither are {listed(names[1:])}." if names[1:] else ""
    return (
        f"column {names[0]!r} ({column.dtype}) is not numeric: {example}; expected numbers.{also} "
        f"Leave it out ({drop_remedy(names)}), or turn it into numbers first."
    )
