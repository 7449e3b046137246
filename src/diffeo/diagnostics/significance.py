"""What can be called significant, and by how much: exact ranks, permutations, intervals, many at once.

Nothing here assumes a shape of the distribution it is given. A p-value p promises P(p ≤ α) ≤ α for every α
where nothing is to be found; :func:`holm` keeps that promise for all of several tests together, and
:func:`discoveries` keeps the share of false ones among those found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError, number

Array = NDArray[np.float64]


def lower_ranks(held: Array, scores: Array) -> Array:
    """Return conformal p-values of scores that are unusual where they are low.

    p = (1 + #{held ≤ score}) / (n + 1): for a row like the n held-out ones, P(p ≤ α) ≤ α exactly.

    Source: Vovk, Gammerman & Shafer, *Algorithmic learning in a random world* (2005).

    >>> lower_ranks(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.5])).tolist()
    [0.25, 0.75]
    """
    below = np.searchsorted(np.sort(held), scores, side="right")
    return (1 + below) / (len(held) + 1)


def central_ranks(held: Array, scores: Array) -> Array:
    """Return conformal p-values of scores that are unusual far from the median, on either side.

    p = (1 + #{|held − m| ≥ |score − m|}) / (n + 1), m the median of the held-out scores and this one: a
    symmetric function of all of them, so that P(p ≤ α) ≤ α stays exact. A density is high in the middle
    where no row is: a row can be too likely to be typical.

    Raises:
        DataError: half of the held-out scores or more are infinite.

    >>> central_ranks(np.arange(9.0), np.array([4.2, 20.0, -3.0])).tolist()
    [1.0, 0.1, 0.1]
    """
    ordered = np.sort(held)
    n, middle = len(ordered), len(ordered) // 2
    if not n or not np.isfinite(ordered[max(0, middle - 1) : middle + 2]).all():
        raise DataError(
            f"half of the {n} held-out rows or more have no finite log-density; expected rows like those "
            "of fit: hold out others."
        )
    padded = np.concatenate([[-np.inf], ordered, [np.inf]])  # ordered[k] is padded[k + 1]
    if n % 2 == 0:
        median = np.clip(scores, padded[middle], padded[middle + 1])
    else:
        median = 0.5 * (np.clip(scores, padded[middle], padded[middle + 2]) + ordered[middle])
    with np.errstate(invalid="ignore"):
        apart = np.abs(scores - median)
        apart -= 1e-12 * (apart + np.abs(median))  # what ties but for rounding does tie
    apart = np.where(np.isnan(apart), np.inf, apart)
    below = np.searchsorted(ordered, median - apart, side="right")
    above = n - np.searchsorted(ordered, median + apart, side="left")
    return np.where(np.isfinite(median), np.minimum(1.0, (1 + below + above) / (n + 1)), 1.0)


def holm(p: Sequence[float] | Array) -> Array:
    """Return adjusted p-values: all that are ≤ α are right together with probability 1 − α.

    Source: Holm, *A simple sequentially rejective multiple test procedure* (1979).

    >>> holm([0.01, 0.04, 0.5]).round(3).tolist()
    [0.03, 0.08, 0.5]
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty(len(given))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted


def discoveries(p: Array, rate: float) -> NDArray[np.bool_]:
    """Return which of many p-values to believe so that a share of ``rate`` of those is false, at most.

    Conformal p-values with one held-out set have the positive dependence that this needs.

    Sources: Benjamini & Hochberg (1995); Bates, Candès, Lei, Romano & Sesia, *Testing for outliers with
    conformal p-values* (2023), theorem 2.

    >>> discoveries(np.array([0.001, 0.9, 0.02, 0.6]), 0.05).tolist()
    [True, False, True, False]
    """
    number("rate", rate, above=0, below=1)
    ordered = np.sort(p)
    below = np.flatnonzero(ordered <= rate * np.arange(1, len(p) + 1) / max(len(p), 1))
    return p <= ordered[below[-1]] if len(below) else np.zeros(len(p), dtype=bool)


def share_interval(count: int, total: int, level: float = 0.05) -> tuple[float, float]:
    """Return the interval of a share at confidence 1 − ``level``, exact for any number of rows.

    Source: Clopper & Pearson (1934).

    >>> tuple(round(end, 3) for end in share_interval(2, 10))
    (0.025, 0.556)
    """
    from scipy.stats import beta  # pyright: ignore[reportMissingTypeStubs]

    low = 0.0 if count == 0 else float(beta.ppf(level / 2, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(1 - level / 2, count + 1, total - count))
    return low, high


def mean_interval(values: Array, level: float = 0.05) -> tuple[float, float, float]:
    """Return mean, and the ends of its interval by Student's t; infinite ends for fewer than two values.

    >>> tuple(round(v, 2) for v in mean_interval(np.array([1.0, 2.0, 3.0])))
    (2.0, -0.48, 4.48)
    """
    from scipy.stats import t  # pyright: ignore[reportMissingTypeStubs]

    n = len(values)
    if n < 2:
        return (float(values[0]) if n else math.nan), -math.inf, math.inf
    mean, half = float(values.mean()), float(t.ppf(1 - level / 2, n - 1) * values.std(ddof=1) / n**0.5)
    return mean, mean - half, mean + half


def welch(values: Array, mine: NDArray[np.bool_], extra: float = 0.0) -> float:
    """Return Welch's t of the values that are mine against the others.

    ``extra`` is a variance that their difference has besides (that of a Monte Carlo mean taken off).
    """
    a, b = values[mine], values[~mine]
    spread = a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b) + extra
    return float((a.mean() - b.mean()) / math.sqrt(spread)) if spread > 0 else 0.0


def lower_mean_test(
    values: Array, mine: NDArray[np.bool_], permutations: int, seed: int, extra: float = 0.0
) -> float:
    """Return the p-value of "the mean of mine is not below that of the others", by permuted Welch's t.

    Exact where both have one distribution; where they have one mean and different spreads the studentised
    statistic keeps it right for many rows.

    Source: Janssen, *Studentized permutation tests for non-i.i.d. hypotheses* (1997).
    """
    seen, draws = welch(values, mine, extra), np.random.default_rng(seed)
    n, k, chunk = len(values), int(mine.sum()), max(1, 2_000_000 // max(len(values), 1))
    total, squares, count = values.sum(), (values**2).sum(), 0
    for start in range(0, permutations, chunk):
        size = min(chunk, permutations - start)
        drawn = draws.permuted(np.broadcast_to(values, (size, n)), axis=1)[:, :k]
        one, two = drawn.sum(1), (drawn**2).sum(1)
        a, b = one / k, (total - one) / (n - k)
        spread = (two - k * a**2) / (k - 1) / k + (squares - two - (n - k) * b**2) / (n - k - 1) / (n - k)
        with np.errstate(invalid="ignore", divide="ignore"):
            t = np.where(spread > 0, (a - b) / np.sqrt(np.maximum(spread, 0)), 0.0)
        count += int((t <= seen + 1e-12).sum())
    return (1 + count) / (permutations + 1)
