"""Maximum mean discrepancy of two samples, with its error and its test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffeo.diagnostics.samples.pairs import means_of_pairs, permuted, share_beyond
from diffeo.diagnostics.samples.rows import MOST, at_most, distances, in_words, two_samples
from diffeo.errors import at_least, number


@dataclass(frozen=True)
class Discrepancy:
    """The maximum mean discrepancy of two samples.

    Attributes:
        squared: the unbiased estimate of MMD², which can be below 0 by chance.
        error: its standard error.
        width: h of the kernel, in the units of the rows.
        p_value: of the permutation test; small where the samples have different laws.
    """

    squared: float
    error: float
    width: float
    p_value: float

    @property
    def value(self) -> float:
        """Return MMD = √max(MMD², 0)."""
        return math.sqrt(max(self.squared, 0.0))

    def __str__(self) -> str:
        told = "differ" if self.p_value < 0.05 else "do not differ beyond chance"
        return (
            f"The samples {told}: MMD² {self.squared:.5f} ± {self.error:.5f} (kernel of width "
            f"{self.width:.3g}), {in_words(self.p_value)}."
        )


def mmd(
    x: Any,
    y: Any,
    *,
    width: float | None = None,
    permutations: int = 500,
    seed: int = 0,
    most: int = MOST,
) -> Discrepancy:
    """Return MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y), k = exp(−‖x − y‖² / 2h²), without bias.

    It is 0 where both laws are one, and at most 2. Distances are those of the rows as they are: columns of
    different units are best standardised first. As an objective it is :class:`diffeo.objectives.MMD`.

    Args:
        x: the one sample, (rows, …).
        y: the other.
        width: h; None for the median distance of all rows from each other, of both samples together.
        permutations: divisions that the test draws; p is at least 1 / (permutations + 1).
        seed: of the test and of the choice of rows.
        most: rows of each sample that are compared, at most.

    Raises:
        DataError: a sample has one row or a value that is not finite, or they have different widths.

    Source: Gretton, Borgwardt, Rasch, Schölkopf & Smola, *A kernel two-sample test* (2012), equation 3.

    >>> draws = np.random.default_rng(0)
    >>> x, y = draws.normal(size=(2, 200, 2))
    >>> mmd(x, y + 1).p_value < 0.01
    True
    """
    at_least("permutations", permutations, 1)
    at_least("seed", seed, 0)
    at_least("most", most, 2)
    number("width", width, above=0, optional=True)
    draws = np.random.default_rng(seed)
    a, b = (at_most(rows, most, draws) for rows in two_samples(x, y))
    rows = np.concatenate([a, b])
    apart = distances(rows, rows)
    if width is None:
        # Of both samples together: a width that knew their division would spoil the test.
        middle = float(np.median(apart[np.triu_indices(len(rows), 1)]))
        width = middle if middle > 0 else 1.0
    kernel = np.exp(-0.5 * (apart / width) ** 2)
    squared, error = means_of_pairs(kernel, len(a))
    chance = permuted(kernel, len(a), permutations, draws)
    return Discrepancy(squared, error, width, share_beyond(squared, chance))
