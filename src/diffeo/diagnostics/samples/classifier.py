"""The classifier two-sample test: can a classifier tell one sample from the other?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.samples.ranks import area
from diffeo.diagnostics.samples.rows import MOST, Array, at_most, in_words, two_samples
from diffeo.errors import at_least

#: Rows of a sample that the test needs: two in each half to learn from, and two to judge.
_FEWEST = 8


@dataclass(frozen=True)
class ClassifierTest:
    """How well a classifier tells two samples apart.

    Attributes:
        accuracy: the share of held-out rows that it puts in their sample; ½ is chance.
        accuracy_error: its standard error.
        auc: the probability that it finds a row of y more like y than one of x; ½ is chance.
        auc_error: its standard error.
        p_value: of AUC > ½; small where the samples have different laws. Never too small: twice the
            smaller p of two halves, each exact but for the normal approximation of a rank sum.
        rows: rows of each sample.
    """

    accuracy: float
    accuracy_error: float
    auc: float
    auc_error: float
    p_value: float
    rows: int

    def __str__(self) -> str:
        told = "tells them apart" if self.p_value < 0.05 else "does not tell them apart"
        return (
            f"A classifier {told}: it is right in {self.accuracy:.1%} ± {self.accuracy_error:.1%} of "
            f"held-out rows (chance 50 %), AUC {self.auc:.3f} ± {self.auc_error:.3f}, "
            f"{in_words(self.p_value)}."
        )


def classifier_two_sample(
    x: Any, y: Any, seed: int = 0, *, classifier: Any = None, most: int = MOST
) -> ClassifierTest:
    """Return how well a classifier trained on half of both samples tells the other half apart.

    Both halves are held out once (cross-fitting), so that every row is judged by a classifier that did not
    see it. As many rows of each sample are compared, so that chance is ½.

    Args:
        x: the one sample, (rows, …).
        y: the other.
        seed: of the halves, of the choice of rows and of the classifier.
        classifier: a scikit-learn classifier with ``predict_proba``; None for 100 extremely randomised
            trees, which do not mind the units of columns.
        most: rows of each sample that are compared, at most.

    Raises:
        DataError: a sample has fewer than eight rows or a value that is not finite, or they have
            different widths.

    Source: Lopez-Paz & Oquab, *Revisiting classifier two-sample tests* (2017), section 3.

    >>> draws = np.random.default_rng(0)
    >>> x, y = draws.normal(size=(2, 300, 2))
    >>> classifier_two_sample(x, y + 2).p_value < 0.001
    True
    """
    at_least("seed", seed, 0)
    at_least("most", most, _FEWEST)
    a, b = two_samples(x, y, least=_FEWEST)
    draws = np.random.default_rng(seed)
    n = min(len(a), len(b), most)
    rows = np.concatenate([at_most(a, n, draws), at_most(b, n, draws)])
    label = np.repeat([0, 1], n)
    half = np.concatenate([draws.permutation(n) % 2, draws.permutation(n) % 2])
    score = np.empty(2 * n)
    areas: list[tuple[float, float, float]] = []
    for held in (0, 1):
        out = half == held
        score[out] = _scored(classifier, rows[~out], label[~out], rows[out], seed)
        areas.append(area(score[out & (label == 1)], score[out & (label == 0)]))
    # A score of exactly ½ decides nothing and counts as half a hit.
    accuracy = float(np.where(score == 0.5, 0.5, (score > 0.5) == label).mean())
    return ClassifierTest(
        accuracy=accuracy,
        accuracy_error=math.sqrt(max(accuracy * (1 - accuracy), 0.25 / n) / (2 * n)),
        auc=sum(auc for auc, _, _ in areas) / 2,
        auc_error=math.sqrt(sum(error**2 for _, error, _ in areas)) / 2,
        p_value=min(1.0, 2 * min(p for _, _, p in areas)),
        rows=n,
    )


def _scored(
    classifier: Any, train: Array, label: NDArray[np.int64], held: Array, seed: int
) -> NDArray[np.float64]:
    """Return the probability of label 1 of held-out rows."""
    from sklearn.base import clone
    from sklearn.ensemble import ExtraTreesClassifier

    if classifier is None:
        model: Any = ExtraTreesClassifier(100, min_samples_leaf=3, random_state=seed % 2**32)
    else:
        model = clone(classifier)
    return model.fit(train, label).predict_proba(held)[:, 1]
