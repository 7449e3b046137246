"""Cells and groups as text: numbers in full, dates and times in ISO's form, lengths of time in seconds."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import numpy as np

from diffeo.tables.frames.cells import TICKS, Cells


def labels_of_cells(cells: Cells) -> list[str | None]:
    """Return cells as labels, None where missing; dates, times and lengths of time as they are written."""
    if cells.sort not in ("datetime", "duration"):
        return [None if value is None else as_label(value) for value in cells.objects()]
    kind = "datetime64" if cells.sort == "datetime" else "timedelta64"
    ticks = np.ascontiguousarray(cells.content, np.int64).view(f"{kind}[{cells.unit}]")
    return [
        None if gone else _moment(tick, cells.zoned) if cells.sort == "datetime" else _span(tick)
        for tick, gone in zip(ticks, cells.missing, strict=True)
    ]


def as_label(value: Any) -> str:
    """Return a group as text: a whole number is the same with and without a point, a day as midnight.

    >>> as_label("f"), as_label(1.0), as_label(1), as_label(True), as_label(2**60 + 1)
    ('f', '1', '1', 'True', '1152921504606846977')
    >>> import datetime
    >>> day = datetime.datetime(2024, 3, 9)
    >>> as_label(day), as_label(day.date()), as_label(day.replace(hour=7)), as_label(day - day)
    ('2024-03-09', '2024-03-09', '2024-03-09T07:00:00', '0 s')
    """
    if isinstance(value, datetime.date | np.datetime64):
        at: Any = value
        zoned = getattr(at, "tzinfo", None) is not None
        if zoned:
            at = at.astimezone(datetime.UTC).replace(tzinfo=None)
        return _moment(at.to_datetime64() if hasattr(at, "to_datetime64") else np.datetime64(at), zoned)
    if isinstance(value, datetime.timedelta | np.timedelta64):
        span: Any = value
        return _span(span.to_timedelta64() if hasattr(span, "to_timedelta64") else np.timedelta64(span))
    if isinstance(value, np.generic):
        value = value.item()
    whole = isinstance(value, float | Decimal) and abs(value) < 2.0**63 and value == int(value)
    if isinstance(value, Decimal):
        return str(int(value)) if whole else f"{value.normalize():f}"
    return str(int(value)) if whole else str(value)


def _moment(tick: Any, zoned: bool) -> str:
    """Return a time in ISO's form, without what is 0 at its end; of an instant in UTC, with a Z.

    >>> [_moment(np.datetime64(text), False) for text in ("2024-03", "2024-03-09T00:00", "2024-03-09T07")]
    ['2024-03-01', '2024-03-09', '2024-03-09T07:00:00']
    """
    if np.datetime_data(tick.dtype)[0] in ("Y", "M", "W"):
        tick = tick.astype("datetime64[D]")
    day, _, clock = str(tick).partition("T")
    clock += "00:00:00"[len(clock) :]
    clock = clock.rstrip("0").rstrip(".") if "." in clock else clock
    if clock == "00:00:00" and not zoned:
        return day
    return f"{day}T{clock}{'Z' if zoned else ''}"


def _span(tick: Any) -> str:
    """Return a length of time in seconds, exactly.

    >>> _span(np.timedelta64(90, "m")), _span(np.timedelta64(1500, "ms")), _span(np.timedelta64(1, "D"))
    ('5400 s', '1.5 s', '86400 s')
    """
    if np.datetime_data(tick.dtype)[0] not in TICKS:
        tick = tick.astype("timedelta64[s]")
    per_second = TICKS[np.datetime_data(tick.dtype)[0]]
    seconds = Decimal(int(tick.astype(np.int64)) * per_second.denominator) / per_second.numerator
    return f"{as_label(seconds)} s"
