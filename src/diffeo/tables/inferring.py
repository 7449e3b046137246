"""One column of a schema found from a frame, by the rules or as its user said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from diffeo.errors import ConfigError, DataError, did_you_mean
from diffeo.tables.columns import Column, Guess, guess, make
from diffeo.tables.frames import Frame
from diffeo.tables.numeric_schema import listed

_SHOWN = 8


def infer_column(frame: Frame, k: int, told: Mapping[str, Any] | None) -> Column:
    """Return column ``k``: of the kind that its user told (with details), or that the rules find."""
    name, cells, storage = frame.names[k], frame.read(k), frame.storage(k)
    if told is None:
        found = guess(name, cells, named=frame.library != "numpy", declared=_declared(storage))
        details: dict[str, Any] = {}
    else:
        found = Guess(told["kind"], "as said")
        details = {detail: as_plain(value) for detail, value in told.items() if detail != "kind"}
    coding = make(name, found.kind, cells, details)
    return Column(name, frame.keys[k], found.kind, found.why, coding, storage, details)


def _declared(storage: Mapping[str, Any]) -> str:
    """Return the kind that the frame declares a column of categories to be, or nothing."""
    kind = storage.get("type")
    if isinstance(kind, list) and kind[0] == "dictionary":
        return "ordinal" if kind[3] else "categorical"
    if "categories" in storage or storage.get("dtype") == "Categorical":
        return "ordinal" if storage.get("ordered") else "categorical"
    return ""


def said(name: Any, kind: Any) -> dict[str, Any]:
    """Return what was said of a column, as its kind and details.

    >>> said("zip", "categorical")
    {'kind': 'categorical'}
    """
    if isinstance(kind, str):
        return {"kind": kind}
    if isinstance(kind, Mapping) and isinstance(kind.get("kind"), str):
        return dict(kind)
    raise ConfigError(
        f"kinds[{name!r}]={kind!r:.60} must be a kind, as 'categorical', or one with details, as "
        "{'kind': 'bounded', 'low': 0}."
    )


def one_name(argument: str, known: Sequence[str], given: Any) -> str:
    """Return the name of a column as text, or raise :class:`DataError`."""
    if str(given) not in known:
        raise DataError(
            f"{argument} names {given!r:.60}, which is not a modelled column of the data; expected some of "
            f"{listed(known)}.{did_you_mean(str(given), known)}"
        )
    return str(given)


def several(argument: str, names: Iterable[Any]) -> list[Any]:
    """Return names as a list; text is one name, and no list of letters."""
    if isinstance(names, str):
        raise ConfigError(f"{argument}={names!r} must be a list of names, as [{names!r}].")
    return list(names)


def warn_of_identifiers(columns: Sequence[Column]) -> None:
    """Warn once of all columns that are left out."""
    if not columns:
        return
    shown = "; ".join(f"{column.name!r} ({column.why})" for column in columns[:_SHOWN])
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    warnings.warn(
        f"left out as identifiers, which tell nothing of other rows: {shown}{more}. To model one, say "
        f"kinds={{{columns[0].name!r}: 'categorical'}} (or 'integer').",
        UserWarning,
        stacklevel=3,
    )


def as_plain(given: Any) -> Any:
    """Return numbers and words of numpy as Python's own, which go into a file."""
    if isinstance(given, np.number | np.bool_ | np.str_):
        return given.item()
    if isinstance(given, np.ndarray) and given.dtype.kind in "biufU":
        return given.tolist()
    if isinstance(given, Mapping):
        return {str(name): as_plain(each) for name, each in given.items()}
    return [as_plain(each) for each in given] if isinstance(given, list | tuple) else given
