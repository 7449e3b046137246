"""Which rows are trained on and which are held out: one split of many rows, several of few.

Every figure that chooses (sizes, when to stop, weights of members) or calibrates (the threshold of
outliers) is of held-out rows. Few rows cannot spare any: they are split in folds, each row is held out of
one model and the models are averaged, which is itself a density.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError

Rows = NDArray[np.int64]
Fold = tuple[Rows, Rows]

#: From this many rows on, one split suffices.
ENOUGH = 2_000

#: The share that is held out of many rows, and of few where one split must do.
_HELD, _HELD_OF_FEW = 0.1, 0.2

#: How many rows are held out at most.
MOST_HELD = 50_000

#: Rows that whole weights repeat, and cells (rows × columns), at most; rows drawn by others, if need be.
_REPEATED, _CELLS, _DRAWN = 1_000_000, 20_000_000, 5_000


def folds_of(rows: int, seed: int, splits: int = 5, most: int = MOST_HELD) -> list[Fold]:
    """Return ``(train, held)`` row numbers: one split 90/10 from 2,000 rows on, else ``splits`` folds.

    Of many rows no more than ``most`` are held out.

    Raises:
        DataError: there is one row only.

    >>> [(len(train), len(held)) for train, held in folds_of(10, seed=0)]
    [(8, 2), (8, 2), (8, 2), (8, 2), (8, 2)]
    """
    if rows < 2:
        raise DataError(
            f"X has {rows} sample (n_samples={rows}); expected at least 2 rows, to learn a spread from: "
            "add rows."
        )
    order = np.random.default_rng([seed, rows]).permutation(rows)
    if rows >= ENOUGH or splits == 1:
        share = _HELD if rows >= ENOUGH else _HELD_OF_FEW
        held = max(1, min(int(rows * share), most))
        return [(np.sort(order[held:]), np.sort(order[:held]))]
    parts = np.array_split(order, min(splits, rows))
    return [
        (np.sort(np.concatenate(parts[:k] + parts[k + 1 :])), np.sort(part)) for k, part in enumerate(parts)
    ]


def held_rows(folds: list[Fold]) -> Rows:
    """Return the held-out rows of all folds, in their order."""
    return np.concatenate([held for _, held in folds])


def are_counts(weights: NDArray[np.float64]) -> bool:
    """Return whether all weights are whole, so that each says how often its row was seen."""
    return np.array_equal(np.rint(weights), weights)


def weighted_rows(weights: NDArray[np.float64], seed: int, columns: int = 1) -> Rows:
    """Return row numbers in which row i stands weights[i] times, on average: systematic resampling.

    Whole weights are met exactly, up to a million rows (fewer of many ``columns``), and so many are drawn
    in proportion to larger ones. In proportion to others as many are drawn as give the least of them a row:
    5,000 at most, or as many as have a weight. They are drawn by one random offset and equal steps, so
    that each count is within one of what it should be.

    Source: Kitagawa, *Monte Carlo filter and smoother* (1996), appendix.

    >>> weighted_rows(np.array([2.0, 0.0, 1.0]), seed=0)
    array([0, 0, 2])
    >>> np.bincount(weighted_rows(np.array([0.75, 0.05, 0.2]), seed=0))
    array([15,  1,  4])
    """
    shares = weights / weights.max()  # the sum of which is finite
    shares /= shares.sum()
    total, least = int((shares > 0).sum()), shares[shares > 0].min()
    if are_counts(weights):
        most = max(10 * len(weights), min(_REPEATED, _CELLS // max(columns, 1)))
        if weights.max() <= most and weights.sum() <= most:
            return np.repeat(np.arange(len(weights)), weights.astype(np.int64))
        total = most
    else:
        total = max(total, int(min(np.rint(1 / least), _DRAWN)))
    points = (np.arange(total) + np.random.default_rng([seed, total]).random()) / total
    return np.minimum(np.searchsorted(np.cumsum(shares), points, side="right"), len(weights) - 1)
