"""Which of two lists of numbers has the larger ones: the area under the ROC curve, and its test."""

from __future__ import annotations

import math

import numpy as np

from diffeo.diagnostics.samples.rows import Array


def midranks(values: Array) -> Array:
    """Return ranks from 1; equal values share the mean of their ranks.

    >>> midranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def area(high: Array, low: Array) -> tuple[float, float, float]:
    """Return AUC = P(a > b) + ½ P(a = b) for a of ``high``, b of ``low``; its error; p of AUC > ½.

    The error is that of DeLong, DeLong & Clarke-Pearson (1988), equation 5, from the placement of each
    value in the other list; p is one-sided, of Mann & Whitney's test (1947), in the normal approximation
    with ties counted.

    >>> auc, error, p = area(np.arange(10.0) + 100, np.arange(10.0))
    >>> auc, p < 0.001
    (1.0, True)
    """
    n, m = len(high), len(low)
    both = np.concatenate([high, low])
    ranks = midranks(both)
    above = (ranks[:n] - midranks(high)) / m  # the share of ``low`` below each of ``high``
    below = 1 - (ranks[n:] - midranks(low)) / n  # the share of ``high`` above each of ``low``
    auc = float(above.mean())
    error = math.sqrt(_variance(above) / n + _variance(below) / m)
    _, ties = np.unique(both, return_counts=True)
    total = n + m
    spread = (total + 1 - float((ties.astype(float) ** 3 - ties).sum()) / (total * (total - 1))) / (
        12 * n * m
    )
    z = (auc - 0.5) / math.sqrt(spread) if spread > 0 else 0.0
    return auc, error, 0.5 * math.erfc(z / math.sqrt(2))


def _variance(values: Array) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
