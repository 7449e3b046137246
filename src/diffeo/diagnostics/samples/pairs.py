"""Distances of laws that are means over pairs of rows, and what chance makes of them.

Of all pairs among n rows of x and m rows of y, with w(·, ·) a kernel or minus a distance, let

    T = E w(x, x′) + E w(y, y′) − 2 E w(x, y),

each mean over pairs of different rows (unbiased). With a kernel T is MMD², with minus the distance it is
the energy distance. If both samples have one law, any division of the n + m rows into n and m is as likely
as the one that was made: so the place of T among random divisions is an exact test.
"""

from __future__ import annotations

import math

import numpy as np

from diffeo.diagnostics.samples.rows import Array


def means_of_pairs(pairs: Array, n: int) -> tuple[float, float]:
    """Return T and its standard error, for a symmetric table of w of all rows, those of x first.

    The error is of first order, from the influence of each row; where both laws agree it is larger than
    the truth, by a factor of up to √2.
    """
    own = pairs - np.diag(np.diag(pairs))
    m = len(pairs) - n
    xx, xy, yy = own[:n, :n], own[:n, n:], own[n:, n:]
    value = xx.sum() / (n * (n - 1)) + yy.sum() / (m * (m - 1)) - 2 * xy.mean()
    of_x = 2 * (xx.sum(1) / (n - 1) - xy.mean(1))
    of_y = 2 * (yy.sum(1) / (m - 1) - xy.mean(0))
    return float(value), math.sqrt(of_x.var(ddof=1) / n + of_y.var(ddof=1) / m)


def permuted(pairs: Array, n: int, times: int, draws: np.random.Generator) -> Array:
    """Return T of random divisions of the rows into n and the rest."""
    own = pairs - np.diag(np.diag(pairs))
    total, m = own.sum(), len(pairs) - n
    found = np.empty(times)
    for start in range(0, times, 100):
        count = min(100, times - start)
        chosen = np.zeros((len(pairs), count))
        for k in range(count):
            chosen[draws.permutation(len(pairs))[:n], k] = 1.0
        reached = own @ chosen
        xx = (reached * chosen).sum(0)
        xy = reached.sum(0) - xx  # every pair of x with a row of y, once
        yy = total - xx - 2 * xy
        found[start : start + count] = xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)
    return found


def share_beyond(value: float, chance: Array) -> float:
    """Return p = (1 + number of chance values at least as large) / (1 + their number).

    >>> share_beyond(3.0, np.array([1.0, 2.0, 4.0]))
    0.5
    """
    # Rounding must not tell a division from itself.
    slack = 1e-12 * max(1.0, abs(value))
    return float((1 + (chance >= value - slack).sum()) / (1 + len(chance)))
