"""The full-covariance Gaussian."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from diffeo.errors import number
from diffeo.friends.friend import Array, Sizes, check_fit, draws_of
from diffeo.friends.protocol import Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.units import Units, as_rows
from diffeo.registry import register


@register("friends.Gaussian")
class Gaussian(RowsFriend):
    """log p(x) = −½ (x − μ)ᵀ Σ⁻¹ (x − μ) − ½ log │2π Σ│, with μ and Σ of the training rows.

    Args:
        floor: eigenvalues of the correlations are at least this fraction of the largest.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> model = Gaussian().fit(x)
    >>> model.log_prob(x).shape, model.sample(3).shape, model.n_parameters
    ((500,), (3, 2), 5)
    """

    name = "Gaussian, full covariance"

    def __init__(self, floor: float = 1e-10, *, fitted: Sizes | None = None) -> None:
        super().__init__()
        number("floor", floor, above=0, below=1)
        self.floor = floor
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        columns: int = sizes["columns"]
        self._hold_units(columns)
        self._hold("vectors", (columns, columns))
        self._hold("deviations", columns)

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Read mean and covariance off ``x``, of shape (rows, columns); it takes no time to speak of."""
        check_fit(time_budget, report)
        rows = as_rows(x)
        units = Units.of(rows)
        standard = units.to_standard(rows)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(standard.T, bias=True)))
        values = np.maximum(values, self.floor * max(values[-1], self.floor))
        self._become(columns=rows.shape[1])
        self._keep_units(units)
        self._hold("vectors", vectors)
        self._hold("deviations", np.sqrt(values))
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = self._units()
        deviations = self._held("deviations")
        z = units.to_standard(as_rows(x)) @ self._held("vectors") / deviations
        log_det = units.log_det - np.log(deviations).sum()
        return -0.5 * (z**2).sum(1) - 0.5 * z.shape[1] * np.log(2 * np.pi) + log_det

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns)."""
        units, deviations = self._units(), self._held("deviations")
        z = draws_of(n, seed).standard_normal((n, len(deviations)))
        return units.to_data((z * deviations) @ self._held("vectors").T)

    def _count(self, sizes: Sizes) -> int:
        columns: int = sizes["columns"]
        return columns + columns * (columns + 1) // 2

    def describe(self) -> str:
        """Return what was fitted, in a few words."""
        return f"{self._sizes()['columns']} columns"
