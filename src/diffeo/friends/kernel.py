"""The Gaussian kernel density, its bandwidth chosen by cross-validation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from diffeo.errors import at_least
from diffeo.friends.units import Array, Units, as_rows, fitted


class KernelDensity:
    """p(x) = 1/n Σᵢ N(x; xᵢ, h²) in standardised columns, h by cross-validated log-likelihood.

    Args:
        bandwidths: how many bandwidths to try, from a third of Scott's rule to three times it.
        folds: folds of the cross-validation.

    >>> x = np.random.default_rng(0).normal(size=(100, 1))
    >>> KernelDensity().fit(x).log_prob(x).shape
    (100,)
    """

    name = "kernel density by cross-validation"

    _units: Units | None = None

    def __init__(self, bandwidths: int = 25, folds: int = 5) -> None:
        at_least("bandwidths", bandwidths, 1)
        at_least("folds", folds, 2)
        self.bandwidths, self.folds = bandwidths, folds

    def fit(self, x: Any) -> Self:
        """Choose the bandwidth and keep the rows."""
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.neighbors import KernelDensity as Kernel

        rows = as_rows(x)
        units = self._units = Units.of(rows)
        standard = units.to_standard(rows)
        scott = len(rows) ** (-1 / (rows.shape[1] + 4))
        grid = {"bandwidth": scott * np.geomspace(1 / 3, 3, self.bandwidths)}
        folds = KFold(min(self.folds, len(rows)), shuffle=True, random_state=0)
        self._model: Any = GridSearchCV(Kernel(), grid, cv=folds).fit(standard).best_estimator_
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = fitted(self._units)
        return self._model.score_samples(units.to_standard(as_rows(x))) + units.log_det

    def describe(self) -> str:
        """Return what was chosen, in a few words."""
        return f"bandwidth {self._model.bandwidth:.3g} standard deviations"
