"""The Gaussian kernel density, its bandwidth chosen by cross-validation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from diffeo.errors import at_least
from diffeo.friends.friend import Array, Sizes, check_fit, draws_of
from diffeo.friends.protocol import Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.units import Units, as_rows
from diffeo.registry import register


@register("friends.KernelDensity")
class KernelDensity(RowsFriend):
    """p(x) = 1/n Σᵢ N(x; xᵢ, h²) in standardised columns, h by cross-validated log-likelihood.

    Its file holds the training rows: they are the model.

    Args:
        bandwidths: how many bandwidths to try, from a third of Scott's rule to three times it.
        folds: folds of the cross-validation.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.random.default_rng(0).normal(size=(100, 1))
    >>> model = KernelDensity().fit(x)
    >>> model.log_prob(x).shape, model.sample(3).shape
    ((100,), (3, 1))
    """

    name = "kernel density by cross-validation"

    def __init__(self, bandwidths: int = 25, folds: int = 5, *, fitted: Sizes | None = None) -> None:
        super().__init__()
        at_least("bandwidths", bandwidths, 1)
        at_least("folds", folds, 2)
        self.bandwidths, self.folds = bandwidths, folds
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        rows, columns = sizes["rows"], sizes["columns"]
        self._hold_units(columns)
        self._hold("centres", (rows, columns))
        self._hold("bandwidth", ())

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Choose the bandwidth and keep the rows, of shape (rows, columns); it takes what it takes."""
        from sklearn.model_selection import GridSearchCV, KFold
        from sklearn.neighbors import KernelDensity as Kernel

        check_fit(time_budget, report)
        rows = as_rows(x)
        units = Units.of(rows)
        standard = units.to_standard(rows)
        scott = len(rows) ** (-1 / (rows.shape[1] + 4))
        grid = {"bandwidth": scott * np.geomspace(1 / 3, 3, self.bandwidths)}
        folds = KFold(min(self.folds, len(rows)), shuffle=True, random_state=0)
        search: Any = GridSearchCV(Kernel(), grid, cv=folds, refit=False).fit(standard)
        self._become(rows=len(rows), columns=rows.shape[1])
        self._keep_units(units)
        self._hold("centres", standard)
        self._hold("bandwidth", search.best_params_["bandwidth"])
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        from sklearn.neighbors import KernelDensity as Kernel

        units = self._units()
        # The tree of the centres costs far less than what is asked of it.
        model: Any = Kernel(bandwidth=float(self._held("bandwidth"))).fit(self._held("centres"))
        return model.score_samples(units.to_standard(as_rows(x))) + units.log_det

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns): a row at random, and noise of the bandwidth."""
        units, centres, draws = self._units(), self._held("centres"), draws_of(n, seed)
        chosen = centres[draws.integers(len(centres), size=n)]
        return units.to_data(chosen + self._held("bandwidth") * draws.standard_normal(chosen.shape))

    def _count(self, sizes: Sizes) -> int:
        return sizes["rows"] * sizes["columns"] + 1

    def describe(self) -> str:
        """Return what was chosen, in a few words."""
        self._sizes()
        return f"bandwidth {float(self._held('bandwidth')):.3g} standard deviations"
