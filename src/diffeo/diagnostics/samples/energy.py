"""Energy distance of two samples, with its error and its test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffeo.diagnostics.samples.pairs import means_of_pairs, permuted, share_beyond
from diffeo.diagnostics.samples.rows import MOST, at_most, distances, in_words, two_samples
from diffeo.errors import at_least


@dataclass(frozen=True)
class Energy:
    """The energy distance of two samples.

    Attributes:
        value: the unbiased estimate, in units of the rows; it can be below 0 by chance.
        error: its standard error.
        p_value: of the permutation test; small where the samples have different laws.
    """

    value: float
    error: float
    p_value: float

    def __str__(self) -> str:
        told = "differ" if self.p_value < 0.05 else "do not differ beyond chance"
        return (
            f"The samples {told}: energy distance {self.value:.5f} ± {self.error:.5f}, "
            f"{in_words(self.p_value)}."
        )


def energy_distance(x: Any, y: Any, *, permutations: int = 500, seed: int = 0, most: int = MOST) -> Energy:
    """Return 2 E‖x − y‖ − E‖x − x′‖ − E‖y − y′‖, without bias.

    It is 0 only where both samples have one law, and has no width to choose. Distances are those of the
    rows as they are: columns of different units are best standardised first. As an objective it is
    :class:`diffeo.objectives.EnergyDistance`.

    Args:
        x: the one sample, (rows, …).
        y: the other.
        permutations: divisions that the test draws; p is at least 1 / (permutations + 1).
        seed: of the test and of the choice of rows.
        most: rows of each sample that are compared, at most.

    Raises:
        DataError: a sample has one row or a value that is not finite, or they have different widths.

    Source: Székely & Rizzo, *Energy statistics: a class of statistics based on distances* (2013),
    equation 5.

    >>> draws = np.random.default_rng(0)
    >>> x, y = draws.normal(size=(2, 200, 2))
    >>> energy_distance(x, y + 1).p_value < 0.01
    True
    """
    at_least("permutations", permutations, 1)
    at_least("seed", seed, 0)
    at_least("most", most, 2)
    draws = np.random.default_rng(seed)
    a, b = (at_most(rows, most, draws) for rows in two_samples(x, y))
    rows = np.concatenate([a, b])
    nearness = -distances(rows, rows)
    value, error = means_of_pairs(nearness, len(a))
    return Energy(value, error, share_beyond(value, permuted(nearness, len(a), permutations, draws)))
