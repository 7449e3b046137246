"""The Gaussian mixture, its size and covariance chosen by BIC."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from diffeo.errors import ConfigError, at_least, one_of
from diffeo.friends.friend import Array, Sizes, check_fit, draws_of
from diffeo.friends.protocol import Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.units import Units, as_rows
from diffeo.registry import register

COVARIANCES = ("full", "tied", "diag", "spherical")


@register("friends.GaussianMixture")
class GaussianMixture(RowsFriend):
    """p(x) = Σ_k w_k N(x; μ_k, Σ_k): the best of many by the Bayesian information criterion.

    Fitted with scikit-learn's EM on standardised columns.

    Args:
        components: the numbers of components to try.
        covariances: the covariance structures to try ("full", "tied", "diag", "spherical").
        seed: seed of the k-means starts.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = GaussianMixture(components=(1, 2)).fit(x)
    >>> model.describe(), model.sample(3).shape
    ('1 component, ... covariance', (3, 2))
    """

    name = "Gaussian mixture by BIC"

    def __init__(
        self,
        components: Sequence[int] = tuple(range(1, 11)),
        covariances: Sequence[str] = ("full", "tied", "diag"),
        seed: int = 0,
        *,
        fitted: Sizes | None = None,
    ) -> None:
        super().__init__()
        for argument, choices in (("components", components), ("covariances", covariances)):
            if not isinstance(choices, list | tuple) or not choices:
                raise ConfigError(f"{argument}={choices!r} must be a sequence of at least one choice.")
        for k in components:
            at_least("components", k, 1)
        for covariance in covariances:
            one_of("covariances", covariance, COVARIANCES)
        at_least("seed", seed, 0)
        self.components, self.covariances, self.seed = components, covariances, seed
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        components, columns = sizes["components"], sizes["columns"]
        one_of("covariance", sizes["covariance"], COVARIANCES)
        self._hold_units(columns)
        self._hold("weights", components)
        self._hold("centres", (components, columns))
        self._hold("factors", (components, columns, columns))

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Fit each candidate to rows (rows, columns), however long it takes; keep the one of lowest BIC."""
        check_fit(time_budget, report)
        rows = as_rows(x)
        units = Units.of(rows)
        model = self._chosen(units.to_standard(rows), report)
        covariance: str = model.covariance_type
        columns = rows.shape[1]
        self._become(components=len(model.weights_), columns=columns, covariance=covariance)
        self._keep_units(units)
        self._hold("weights", model.weights_)
        self._hold("centres", model.means_)
        self._hold("factors", _factors(model, len(model.weights_), columns))
        return self

    def _chosen(self, standard: Array, report: Report | None) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture

        best, lowest = None, np.inf
        with warnings.catch_warnings():
            # A candidate that has not converged yet is still a density, and BIC judges it as it is.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for covariance in self.covariances:
                for k in (k for k in self.components if k <= len(standard)):
                    model: Any = Mixture(
                        k, covariance_type=covariance, random_state=self.seed, reg_covar=1e-6, max_iter=300
                    )
                    criterion = model.fit(standard).bic(standard)
                    if report is not None:
                        report(f"{k} components, {covariance} covariance: BIC {criterion:.1f}")
                    if criterion < lowest:
                        best, lowest = model, criterion
        if best is None:
            raise ConfigError(
                f"components={list(self.components)} must not all be more than the {len(standard)} rows."
            )
        return best

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = self._units()
        u = units.to_standard(as_rows(x))
        terms = np.empty((len(u), len(self._held("weights"))))
        parts = zip(self._held("weights"), self._held("centres"), self._held("factors"), strict=True)
        for k, (weight, centre, factor) in enumerate(parts):
            # Σ⁻¹ = F Fᵀ, so that (x − μ)ᵀ Σ⁻¹ (x − μ) = │(x − μ)ᵀ F│².
            away = ((u - centre) @ factor) ** 2
            terms[:, k] = np.log(weight) + np.log(np.diag(factor)).sum() - 0.5 * away.sum(1)
        normal = 0.5 * u.shape[1] * np.log(2 * np.pi)
        return np.logaddexp.reduce(terms, 1) - normal + units.log_det

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns)."""
        units, centres, draws = self._units(), self._held("centres"), draws_of(n, seed)
        weights = self._held("weights")
        chosen = draws.choice(len(weights), size=n, p=weights / weights.sum())
        u = draws.standard_normal((n, centres.shape[1]))
        for k, factor in enumerate(self._held("factors")):
            here = chosen == k
            u[here] = centres[k] + np.linalg.solve(factor.T, u[here].T).T
        return units.to_data(u)

    def _count(self, sizes: Sizes) -> int:
        components, columns = sizes["components"], sizes["columns"]
        full = columns * (columns + 1) // 2
        of_covariances = {
            "full": components * full, "tied": full, "diag": components * columns, "spherical": components,
        }  # fmt: skip
        return components - 1 + components * columns + of_covariances[sizes["covariance"]]

    def describe(self) -> str:
        """Return what was chosen, in a few words."""
        sizes = self._sizes()
        k = sizes["components"]
        return f"{k} component{'s' if k > 1 else ''}, {sizes['covariance']} covariance"


def _factors(model: Any, components: int, columns: int) -> Array:
    """Return F of each Σ⁻¹ = F Fᵀ, upper triangular, whatever structure the covariances have."""
    held: Array = model.precisions_cholesky_
    shape = (components, columns, columns)
    if model.covariance_type == "spherical":
        held = np.repeat(held[:, None], columns, 1)
    if held.ndim == 2 and model.covariance_type != "tied":
        return held[:, :, None] * np.eye(columns)
    return np.broadcast_to(held, shape).copy()
