"""Is the model worse for a group? Nats a row beside the nats that the model itself expects there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import lower_mean_test, mean_interval
from diffeo.understanding.groups import Groups

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupFit:
    """How well the model fits a group, in nats a row.

    Mean log p of two groups cannot be compared: the rows of one may simply be more varied. What can is how
    far each falls short of what is expected of it.

    Attributes:
        group: the group.
        rows: its rows that were scored.
        nats: mean log p of them.
        low: of its 95 % interval.
        high: as ``low``.
        expected: the mean log p that the model expects of this group, from its own draws; where the group
            is not modelled, that of p(x | group) learned apart (NaN where that is of other columns).
        shortfall: nats − expected: 0 where the model is right, below where the group is not as it says.
        shortfall_low: of its 95 % interval, draws included.
        shortfall_high: as ``shortfall_low``.
        p: of "the shortfall is not worse than that of the other groups" (permuted Welch's t); NaN for
            groups too small for a verdict, and where the group is not modelled.
    """

    group: str
    rows: int
    nats: float
    low: float
    high: float
    expected: float
    shortfall: float
    shortfall_low: float
    shortfall_high: float
    p: float


def group_fits(
    groups: Groups,
    log_p: Array,
    member: NDArray[np.int64],
    expected: Array,
    variance: Array,
    permutations: int,
    seed: int,
) -> list[GroupFit]:
    """Return how well the model fits each group.

    Args:
        groups: the groups.
        log_p: log p of rows under the model.
        member: their groups.
        expected: what is expected of each row.
        variance: of the mean that was taken as expected, by group: that of Monte Carlo.
        permutations: how many.
        seed: of these.
    """
    kept = np.isfinite(log_p)
    log_p, member, expected = log_p[kept], member[kept], expected[kept]
    short, found = log_p - expected, list[GroupFit]()
    tested = np.isfinite(short).all() and np.isfinite(variance).all()
    for k, label in enumerate(groups.labels):
        mine = member == k
        mean, low, high = mean_interval(log_p[mine])
        fall, _, up = mean_interval(short[mine])
        half = float(np.hypot(up - fall, 1.96 * np.nan_to_num(variance[k]) ** 0.5))
        p = np.nan
        if groups.enough(k) and tested:
            rest = np.bincount(member[~mine], minlength=len(variance)) / max(int((~mine).sum()), 1)
            extra = float(variance[k] + (rest**2 * variance).sum())
            p = lower_mean_test(short, mine, permutations, seed + k, extra)
        wanted = float(expected[mine].mean()) if mine.any() else np.nan
        found.append(
            GroupFit(label, int(mine.sum()), mean, low, high, wanted, fall, fall - half, fall + half, p)
        )
    return found
