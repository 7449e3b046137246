"""The Gaussian mixture, its size and covariance chosen by BIC."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from diffeo.errors import ConfigError, at_least, one_of
from diffeo.friends.units import Array, Units, as_rows, fitted


class GaussianMixture:
    """p(x) = Σ_k w_k N(x; μ_k, Σ_k): the best of many by the Bayesian information criterion.

    Fitted with scikit-learn's EM on standardised columns.

    Args:
        components: the numbers of components to try.
        covariances: the covariance structures to try ("full", "tied", "diag", "spherical").
        seed: seed of the k-means starts.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> GaussianMixture(components=(1, 2)).fit(x).describe()
    '1 component, ... covariance'
    """

    name = "Gaussian mixture by BIC"

    _units: Units | None = None

    def __init__(
        self,
        components: Sequence[int] = tuple(range(1, 11)),
        covariances: Sequence[str] = ("full", "tied", "diag"),
        seed: int = 0,
    ) -> None:
        for argument, choices in (("components", components), ("covariances", covariances)):
            if not isinstance(choices, list | tuple) or not choices:
                raise ConfigError(f"{argument}={choices!r} must be a sequence of at least one choice.")
        for k in components:
            at_least("components", k, 1)
        for covariance in covariances:
            one_of("covariances", covariance, ("full", "tied", "diag", "spherical"))
        at_least("seed", seed, 0)
        self.components, self.covariances, self.seed = components, covariances, seed

    def fit(self, x: Any) -> Self:
        """Fit each candidate and keep the one of lowest BIC."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        rows = as_rows(x)
        units = self._units = Units.of(rows)
        standard = units.to_standard(rows)
        best, lowest = None, np.inf
        with warnings.catch_warnings():
            # A candidate that has not converged yet is still a density, and BIC judges it as it is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for covariance in self.covariances:
                for k in (k for k in self.components if k <= len(rows)):
                    model: Any = Mixture(
                        k, covariance_type=covariance, random_state=self.seed, reg_covar=1e-6, max_iter=300
                    )
                    criterion = model.fit(standard).bic(standard)
                    if criterion < lowest:
                        best, lowest = model, criterion
        if best is None:
            raise ConfigError(
                f"components={list(self.components)} must not all be more than the {len(rows)} rows."
            )
        self._model: Any = best
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = fitted(self._units)
        return self._model.score_samples(units.to_standard(as_rows(x))) + units.log_det

    def describe(self) -> str:
        """Return what was chosen, in a few words."""
        k = self._model.n_components
        return f"{k} component{'s' if k > 1 else ''}, {self._model.covariance_type} covariance"
