"""The full-covariance Gaussian."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from diffeo.errors import number
from diffeo.friends.units import Array, Units, as_rows, fitted


class Gaussian:
    """log p(x) = −½ (x − μ)ᵀ Σ⁻¹ (x − μ) − ½ log │2π Σ│, with μ and Σ of the training rows.

    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> Gaussian().fit(x).log_prob(x).shape
    (500,)
    """

    name = "Gaussian, full covariance"

    _units: Units | None = None

    def __init__(self, floor: float = 1e-10) -> None:
        number("floor", floor, above=0, below=1)
        self.floor = floor

    def fit(self, x: Any) -> Self:
        """Read mean and covariance off ``x`` (eigenvalues at least ``floor`` of the largest)."""
        rows = as_rows(x)
        units = self._units = Units.of(rows)
        standard = units.to_standard(rows)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(standard.T, bias=True)))
        values = np.maximum(values, self.floor * max(values[-1], self.floor))
        self._vectors, self._deviations = vectors, np.sqrt(values)
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = fitted(self._units)
        z = units.to_standard(as_rows(x)) @ self._vectors / self._deviations
        log_det = units.log_det - np.log(self._deviations).sum()
        return -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * np.log(2 * np.pi) + log_det

    def describe(self) -> str:
        """Return what was fitted, in a few words."""
        return f"{len(self._deviations)} columns"
