"""Median, spread and number of repeated timings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the median, the 10th and 90th percentile, and n.

    >>> summary([3.0, 1.0, 2.0])["median"]
    2.0
    """
    low, median, high = (float(q) for q in np.quantile(seconds, [0.1, 0.5, 0.9]))
    return {"median": median, "low": low, "high": high, "n": len(seconds)}


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit.

    >>> duration(0.01234), duration(2.5), duration(240.0)
    ('12.3 ms', '2.5 s', '240 s')
    """
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:.0f} s"


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return a of values ∝ sizesᵃ, by least squares on logarithms; None of fewer than two points.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    if len(sizes) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])
