"""Columns of Python objects: what they hold decides what they are; a mixture of scalars is labels."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np

from diffeo.errors import DataError, RowError
from diffeo.tables.frames.cells import Cells, Label

_TIMES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)


def absent(value: Any) -> bool:
    """Return whether an object means "no value": None, NaN, pandas' NA and NaT.

    >>> absent(None), absent(float("nan")), absent(""), absent([])
    (True, True, False, False)
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | np.floating) and bool(value != value)


def read_objects(name: str, values: Iterable[Any]) -> Cells:
    """Return the cells of a column of objects.

    Raises:
        DataError: it holds something that is no text, number or truth value.

    >>> cells = read_objects("mixed", ["a", 1, None, True, "a"])
    >>> cells.labels, cells.content.tolist(), cells.missing.tolist()
    (('a', 1, True), [0, 1, 0, 2, 0], [False, False, True, False, False])
    """
    every = [_plain(value) for value in values]
    missing = np.array([absent(value) for value in every], dtype=bool)
    present = [value for value, gone in zip(every, missing, strict=True) if not gone]
    types = set(map(type, present))
    if types <= {bool, str} or len(types & {bool, str}) > 0:
        return _labels(name, every, missing)
    if types <= {int}:
        whole = [0 if gone else value for value, gone in zip(every, missing, strict=True)]
        if all(-(2**63) <= value < 2**63 for value in whole):
            return Cells("whole", np.array(whole, dtype=np.int64), missing)
        return _labels(name, every, missing)
    if types <= {int, float}:
        if any(isinstance(value, int) and abs(value) > 2**53 for value in present):
            return _labels(name, every, missing)
        floats = [np.nan if gone else float(value) for value, gone in zip(every, missing, strict=True)]
        return Cells("float", np.array(floats, dtype=np.float64), missing)
    if types == {Decimal}:
        return _decimals(name, every, missing)
    return _labels(name, every, missing)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) else value


def _labels(name: str, every: list[Any], missing: np.ndarray) -> Cells:
    codes = np.zeros(len(every), dtype=np.int64)
    # 1, 1.0 and True are one key of a dictionary, and three labels.
    known: dict[tuple[type, Any], int] = {}
    for row, value in enumerate(every):
        if missing[row]:
            continue
        if not isinstance(value, str | int | float):
            raise _unreadable(name, row, value)
        codes[row] = known.setdefault((type(value), value), len(known))
    labels: tuple[Label, ...] = tuple(value for _, value in known)
    if labels and all(isinstance(label, bool) for label in labels):
        codes = np.array([int(labels[k]) for k in codes], dtype=np.int64)
        labels = (False, True)
    return Cells("label", codes, missing, labels)


def _decimals(name: str, every: list[Any], missing: np.ndarray) -> Cells:
    present = [value for value, gone in zip(every, missing, strict=True) if not gone]
    if not all(value.is_finite() for value in present):
        raise DataError(
            f"column {name!r} has a decimal that is not finite; expected finite numbers or no value: "
            "make it None."
        )
    decimals = max(0, *(-int(value.as_tuple().exponent) for value in present), 0)
    units = [0 if gone else int(value.scaleb(decimals)) for value, gone in zip(every, missing, strict=True)]
    if decimals > 15 or any(abs(unit) > 2**53 for unit in units):
        raise DataError(
            f"column {name!r} has decimals of more than 15 digits, which float64 cannot tell apart; "
            "expected fewer: round them, or turn them into floats with .astype(float)."
        )
    return Cells("decimal", np.array(units, dtype=np.int64), missing, decimals=decimals)


def _unreadable(name: str, row: int, value: Any) -> RowError:
    remedy = "turn it into numbers, text or dates, or leave it out"
    if isinstance(value, _TIMES):
        remedy = "turn the column into dates first, with pandas.to_datetime or to_timedelta"
    elif isinstance(value, bytes):
        remedy = "decode it to text"
    before = f"column {name!r} holds a {type(value).__name__} in row "
    return RowError(before, row, f"; expected numbers, text, truth values or dates: {remedy}.")
