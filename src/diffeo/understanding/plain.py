"""Results in plain JSON values, and numbers in words."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def as_plain(value: Any) -> Any:
    """Return a result as plain JSON values; a number that is not finite is None.

    Fields of a dataclass whose metadata say ``shown: False`` (fitted densities) are left out.

    >>> as_plain({"a": np.array([1.0, math.inf]), "b": (np.int64(2), True)})
    {'a': [1.0, None], 'b': [2, True]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = (f.name for f in dataclasses.fields(value) if f.metadata.get("shown", True))
        return {name: as_plain(getattr(value, name)) for name in kept}
    if isinstance(value, dict):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return as_plain(value.tolist())
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def percent(share: float) -> str:
    """Return a share in percent, with a digit more where it is small.

    >>> percent(0.5), percent(0.031), percent(0.0004)
    ('50 %', '3.1 %', '0.04 %')
    """
    if not math.isfinite(share):
        return "an unknown share"
    digits = 0 if share >= 0.1 or share == 0 else 1 if share >= 0.01 else 2
    return f"{100 * share:.{digits}f} %"


def listing(items: Sequence[str], most: int = 5) -> str:
    """Return items as a phrase.

    >>> listing(["a", "b", "c"]), listing(list("abcd"), most=2)
    ('a, b and c', 'a, b and 2 more')
    """
    shown = [*items[:most], f"{len(items) - most} more"] if len(items) > most else list(items)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def chance(p: float) -> str:
    """Return a p-value as text.

    >>> chance(0.0314), chance(0.00002)
    ('p = 0.031', 'p < 0.0001')
    """
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"
