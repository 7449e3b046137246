"""Memorisation: do a model's samples know the rows that it was trained on?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.samples.pairs import share_beyond
from diffeo.diagnostics.samples.ranks import area
from diffeo.diagnostics.samples.rows import MOST, Array, at_most, in_words, two_samples
from diffeo.errors import at_least


@dataclass(frozen=True)
class Memorisation:
    """How near samples are to training rows.

    Attributes:
        share: the share of samples whose nearest row, of training and held-out rows, is a training row.
        expected: the share that chance gives: that of training rows among both.
        error: the spread of the share by chance.
        p_value: small where samples favour training rows: an exact test.
        ratio: the median distance of a sample to its nearest training row, over that of a held-out row.
        closer: the probability that a sample is nearer to training rows than a held-out row is; ½ where
            the model has the data's law. More is memorisation, or samples in the densest places only.
        closer_error: its standard error.
    """

    share: float
    expected: float
    error: float
    p_value: float
    ratio: float
    closer: float
    closer_error: float

    def __str__(self) -> str:
        told = "favour the rows trained on" if self.p_value < 0.05 else "do not favour the rows trained on"
        return (
            f"Samples {told}: {self.share:.1%} have one of these as their nearest row, where "
            f"{self.expected:.1%} ± {self.error:.1%} is chance, {in_words(self.p_value)}; they are "
            f"{self.ratio:.2f} times as far from training rows as held-out rows are."
        )


def memorisation(
    samples: Any,
    train: Any,
    held: Any,
    *,
    permutations: int = 1000,
    seed: int = 0,
    most: int = MOST,
) -> Memorisation:
    """Return whether samples are nearer to training rows than to held-out ones.

    Had the model learnt the law alone, its samples could not know which rows were held out: any division of
    the rows into as many trained on and held out would be as likely. So the share of samples whose nearest
    row was trained on is tested against random divisions. Distances to training rows, of samples beside
    those of held-out rows, say how near; but they are small also where a model draws from the densest
    places only, and that is no copying.

    Args:
        samples: a model's, (rows, …).
        train: all rows that it was trained on.
        held: rows that it never saw, of the same law.
        permutations: divisions that the test draws.
        seed: of the test and of the choice of samples.
        most: samples that are looked at, at most.

    Raises:
        DataError: there are fewer than two rows of any, a value is not finite, or the widths differ.

    Source: the distances are those of Meehan, Chaudhuri & Dasgupta, *A non-parametric test to detect
    data-copying in generative models* (2020), section 3.

    >>> draws = np.random.default_rng(0)
    >>> train, held, fresh = draws.normal(size=(3, 300, 2))
    >>> memorisation(train, train, held).share, memorisation(fresh, train, held).p_value > 0.01
    (1.0, True)
    """
    at_least("permutations", permutations, 1)
    at_least("seed", seed, 0)
    at_least("most", most, 2)
    draws = np.random.default_rng(seed)
    a, b = two_samples(samples, train, ("samples", "train"))
    _, c = two_samples(samples, held, ("samples", "held"))
    a = at_most(a, most, draws)
    to_train, row = _nearest(a, b)
    to_held, other = _nearest(a, c)
    # How many samples have each row as their nearest; where both are as near, each counts half.
    known = (to_train < to_held) + 0.5 * (to_train == to_held)
    counts = np.bincount(row, known, len(b)), np.bincount(other, 1 - known, len(c))
    share = float(known.mean())
    chance = _divided(np.concatenate(counts).astype(np.float64), len(b), permutations, draws) / len(a)
    held_apart = _nearest(c, b)[0]
    closer, closer_error, _ = area(-to_train, -held_apart)
    middle = float(np.median(held_apart))
    return Memorisation(
        share=share,
        expected=len(b) / (len(b) + len(c)),
        error=float(chance.std()),
        p_value=share_beyond(share, chance),
        ratio=float(np.median(to_train)) / middle if middle > 0 else math.nan,
        closer=closer,
        closer_error=closer_error,
    )


def _divided(counts: Array, n: int, times: int, draws: np.random.Generator) -> Array:
    """Return the sum of n of the counts, chosen at random, each of so many times."""
    return np.asarray([counts[draws.permutation(len(counts))[:n]].sum() for _ in range(times)])


def _nearest(rows: Array, among: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return distance and place of the nearest row."""
    from sklearn.neighbors import NearestNeighbors

    tree = among.shape[1] <= 15
    search: Any = NearestNeighbors(n_neighbors=1, algorithm="kd_tree" if tree else "brute").fit(among)
    _, place = search.kneighbors(rows)
    place = place[:, 0]
    # Measured anew from differences: products, as scikit-learn takes them, see no exact copy.
    return np.sqrt(((rows - among[place]) ** 2).sum(1)), place
