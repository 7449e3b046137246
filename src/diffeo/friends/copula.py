"""A Gaussian copula: each column has a kernel density, and their ranks depend as a Gaussian's do."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from diffeo.errors import at_least, number
from diffeo.friends.friend import Array, Sizes, check_fit, draws_of
from diffeo.friends.protocol import Report
from diffeo.friends.rows import RowsFriend
from diffeo.friends.smoothed import kernels_of, log_density, quantile
from diffeo.friends.units import Units, as_rows
from diffeo.registry import register


@register("friends.GaussianCopula")
class GaussianCopula(RowsFriend):
    """p(x) = ∏ⱼ fⱼ(xⱼ) · c(F₁(x₁), …, F_D(x_D)), with c the copula of a Gaussian of correlations R:

        log p(x) = Σⱼ log fⱼ(xⱼ) + log N(z; 0, R) − Σⱼ log N(zⱼ; 0, 1),   zⱼ = Φ⁻¹(Fⱼ(xⱼ)).

    fⱼ is a Gaussian kernel density of column j, its kernels the wider the fewer rows are beside them
    (:mod:`diffeo.friends.smoothed`), and Fⱼ its distribution function; R are the correlations of the
    training rows' normal scores z. The shape of each column is free; of what columns say of one another it
    has only what a Gaussian can say.

    Source: Sklar, *Fonctions de répartition à n dimensions et leurs marges* (1959); Song, *Multivariate
    dispersion models generated from Gaussian copula* (2000), equation 4.

    Args:
        kernels: kernels of a column, at most; with more rows they stand at as many of its order statistics.
        shrinkage: the part of R that is the identity, so that no row has an infinite density.
        fitted: what a model file says of the fit; leave it out.

    >>> x = np.exp(np.random.default_rng(0).normal(size=(200, 2)))
    >>> model = GaussianCopula().fit(x)
    >>> model.log_prob(x).shape, model.sample(3).shape
    ((200,), (3, 2))
    """

    name = "Gaussian copula, kernel marginals"

    def __init__(
        self, kernels: int = 1000, shrinkage: float = 1e-6, *, fitted: Sizes | None = None
    ) -> None:
        super().__init__()
        at_least("kernels", kernels, 2)
        number("shrinkage", shrinkage, above=0, most=1)
        self.kernels, self.shrinkage = kernels, shrinkage
        self._restore(fitted)

    def _make(self, sizes: Sizes) -> None:
        kernels, columns = sizes["kernels"], sizes["columns"]
        self._hold_units(columns)
        self._hold("centres", (columns, kernels))
        self._hold("widths", (columns, kernels))
        self._hold("correlations", (columns, columns))

    def fit(self, x: Any, *, time_budget: float | None = None, report: Report | None = None) -> Self:
        """Fit each column of rows (rows, columns), then R; it takes what it takes, a moment a column."""
        check_fit(time_budget, report)
        rows = as_rows(x)
        units = Units.of(rows)
        columns = torch.from_numpy(units.to_standard(rows)).T
        centres, widths = zip(*(kernels_of(column, self.kernels) for column in columns), strict=True)
        scores = [log_density(*given)[1] for given in zip(columns, centres, widths, strict=True)]
        self._become(kernels=len(centres[0]), columns=len(columns))
        self._keep_units(units)
        self._hold("centres", torch.stack(centres))
        self._hold("widths", torch.stack(widths))
        self._hold("correlations", _correlations(torch.stack(scores), self.shrinkage))
        return self

    def log_prob(self, x: Any) -> Array:
        """Return log p(x) for each row, in nats."""
        units = self._units()
        columns = torch.from_numpy(units.to_standard(as_rows(x))).T
        log_f, z = zip(*map(log_density, columns, *self._kernels()), strict=True)
        scores = torch.stack(z)
        factor = torch.linalg.cholesky(self.get_buffer("correlations").double().cpu())
        apart = torch.linalg.solve_triangular(factor, scores, upper=False)
        copula = 0.5 * (scores.square() - apart.square()).sum(0) - factor.diagonal().log().sum()
        return (torch.stack(log_f).sum(0) + copula).numpy() + units.log_det

    def sample(self, n: int, seed: int = 0) -> Array:
        """Return n draws, of shape (n, columns)."""
        units, draws = self._units(), draws_of(n, seed)
        factor = np.linalg.cholesky(self._held("correlations"))
        z = torch.from_numpy(factor @ draws.standard_normal((n, len(factor))).T)
        u = torch.stack(list(map(quantile, z, *self._kernels())))
        return units.to_data(u.T.numpy())

    def _kernels(self) -> tuple[Tensor, Tensor]:
        """Return centres and widths of the kernels, (columns, kernels) each."""
        return torch.from_numpy(self._held("centres")), torch.from_numpy(self._held("widths"))

    def _count(self, sizes: Sizes) -> int:
        kernels, columns = sizes["kernels"], sizes["columns"]
        return 2 * columns * kernels + columns * (columns - 1) // 2

    def describe(self) -> str:
        """Return what was fitted, in a few words."""
        sizes = self._sizes()
        return f"{sizes['columns']} columns of {sizes['kernels']} kernels"


def _correlations(scores: Tensor, shrinkage: float) -> Tensor:
    """Return R of the scores (columns, rows); a column without spread goes with no other."""
    centred = scores - scores.mean(1, keepdim=True)
    size = centred.square().mean(1).sqrt()
    standard = centred / torch.where(size > 1e-12, size, torch.inf)[:, None]
    found = (1 - shrinkage) * standard @ standard.T / scores.shape[1]
    return found.fill_diagonal_(1.0)
