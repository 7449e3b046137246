"""When each unit of a masked network can be computed: as soon as the features that it sees are known.

Going from noise to data, features become known level by level. At time t those of the first t levels are.
A hidden unit arrives at the time from which on it sees known features only; the outputs of the t-th level,
counted from 0, are asked for at time t. Sorted by arrival, the units that are known at a time are the first
ones of their layer, and those that arrive stand side by side: matrices are cut, not searched.

Nothing here computes with tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from diffeo.conditioners.ordered import Graph

Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Arrival:
    """The units of a layer in the order in which they arrive.

    Attributes:
        order: the units, sorted by the time of their arrival; those of one time as they stood.
        known: how many have arrived at each time t, counting those of t: ``order[:known[t]]``.
    """

    order: list[int]
    known: list[int]

    def fresh(self, time: int) -> tuple[int, int]:
        """Return from where to where, in ``order``, the units stand that arrive at ``time``."""
        return (self.known[time - 1] if time else 0), self.known[time]


def arrival(times: Times, count: int) -> Arrival:
    """Return the order of units that arrive at ``times``, over the times 0, …, ``count`` − 1.

    >>> arrival(np.array([2, 0, 1, 0]), 3)
    Arrival(order=[1, 3, 2, 0], known=[2, 3, 4])
    """
    known = np.bincount(times, minlength=count).cumsum()
    return Arrival(np.argsort(times, kind="stable").tolist(), known.tolist())


def feature_times(levels: Sequence[Sequence[int]]) -> Times:
    """Return the level that each feature is of.

    >>> feature_times([[2], [0, 1]])
    array([1, 1, 0])
    """
    times = np.zeros(sum(map(len, levels)), dtype=np.int64)
    for time, level in enumerate(levels):
        times[list(level)] = time
    return times


def unit_times(seen: Graph, features: Times) -> Times:
    """Return when units arrive that see the sets ``seen``, (units, D), of features of these levels.

    >>> unit_times(np.array([[False, False], [True, False], [True, True]]), np.array([0, 1]))
    array([0, 1, 2])
    """
    return np.where(seen, features + 1, 0).max(-1, initial=0)


def blocks(count: int) -> list[int]:
    """Return the times at which a block of times begins: about √count blocks, equally long.

    What is known before a block reaches it in one product of matrices, and what arrives within it reaches
    the rest of the block only. So a level costs the length of a block, a block costs what is known; their
    sum is least where there are about as many levels in a block as there are blocks.

    >>> blocks(10)
    [0, 4, 8]
    """
    return list(range(0, count, max(1, -int(-(count**0.5) // 1))))


def ends(starts: Sequence[int], count: int) -> dict[int, int]:
    """Return, by the time at which a block begins, the first time after it.

    >>> ends([0, 4, 8], 10)
    {0: 4, 4: 8, 8: 10}
    """
    return dict(pairwise([*starts, count]))
