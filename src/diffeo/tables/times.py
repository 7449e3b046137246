"""Dates written as text: ISO 8601, and nothing that could be read in two ways.

A column of text is one of dates if every value in it is ``2024-03-01``, and one of times if every value is
``2024-03-01 09:30``, with ``T`` in place of the space, seconds and fractions if there are any. Either all
times have their offset from UTC, as ``2024-03-01T09:30+01:00`` or ``…Z``, and are instants, or none has.
``03/01/24`` is a text: nobody can know which number is the month.

Times are counted in microseconds, and in nanoseconds where one has more than six digits of a second. These
reach from 1677 to 2262 only: a column with such digits and a time before 1678 or after 2261 (as
9999-12-31 23:59:59.9999999, which SQL Server writes for "never") is read in microseconds, each time by its
first six digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_DATE = r"^\d{4}-\d{2}-\d{2}$"
_CIVIL = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
_OFFSET = r"(Z|([+-])([01]\d|2[0-3]):?([0-5]\d)?)$"

#: Years that nanoseconds of 64 bits hold whole.
_FIRST, _LAST = 1678, 2261


def parse_times(texts: pl.Series) -> pl.Series | None:
    """Return the Date or Datetime column that texts are, or None where any of them is something else.

    ``texts`` has null for what is missing; a column of nothing else is none of dates.

    >>> import polars as pl
    >>> parse_times(pl.Series(["2024-02-29", None])).dtype, parse_times(pl.Series(["2024-02-30"]))
    (Date, None)
    >>> parse_times(pl.Series(["2024-02-29T09:30", "2024-03-01 10:00:00.5"])).dt.minute().to_list()
    [30, 0]
    >>> parse_times(pl.Series(["2024-02-29 09:30:00.123456789"])).dtype
    Datetime(time_unit='ns', time_zone=None)
    >>> parse_times(pl.Series(["9999-12-31 23:59:59.9999999"])).to_list()
    [datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)]
    >>> instants = parse_times(pl.Series(["2024-02-29 09:30+01:00", "2024-02-29T09:30Z"]))
    >>> instants.dt.hour().to_list(), instants.dtype.time_zone
    ([8, 9], 'UTC')
    """
    known = texts.drop_nulls()
    if not len(known):
        return None
    for form, parsed in ((_DATE, _dates), (f"{_CIVIL}$", _times), (_CIVIL + _OFFSET, _instants)):
        if known[:100].str.contains(form).all() and known.str.contains(form).all():
            found = parsed(texts)
            # A day that no calendar has is null: then the column is no column of days.
            return found if found.null_count() == texts.null_count() else None
    return None


def _dates(texts: pl.Series) -> pl.Series:
    return texts.str.to_date("%Y-%m-%d", strict=False)


def _times(texts: pl.Series) -> pl.Series:
    import polars as pl

    even = texts.str.replace("T", " ", literal=True)
    # Minutes alone get their seconds, seconds a fraction: one form for all.
    even = even.str.replace(r"^(.{16})$", "${1}:00").str.replace(r"^(.{19})$", "${1}.0")
    # Fractions of more than six digits are of nanoseconds, whose years are few: an offset is less than one.
    fine = bool((even.str.len_chars() > 26).any())
    years = even.str.slice(0, 4).cast(pl.Int32)
    if fine and not bool(years.is_between(_FIRST, _LAST).all()):
        even, fine = even.str.slice(0, 26), False
    unit = "ns" if fine else "us"
    return even.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit=unit, strict=False).cast(
        pl.Datetime(unit)
    )


def _instants(texts: pl.Series) -> pl.Series:
    import polars as pl

    civil = _times(texts.str.replace(_OFFSET, ""))
    sign = pl.when(texts.str.extract(_OFFSET, 2) == "-").then(-1).otherwise(1)
    hours, minutes = (texts.str.extract(_OFFSET, k).cast(pl.Int64).fill_null(0) for k in (3, 4))
    unit: Any = civil.dtype.time_unit  # pyright: ignore[reportAttributeAccessIssue]
    ahead = pl.select(pl.duration(minutes=sign * (60 * hours + minutes), time_unit=unit)).to_series()
    return (civil - ahead).dt.replace_time_zone("UTC").alias(texts.name)
