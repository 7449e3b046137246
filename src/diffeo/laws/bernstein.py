"""An increasing Bernstein polynomial."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least, number, one_of
from diffeo.kernels.safe import bounded
from diffeo.laws.numeric import NumericLaw
from diffeo.registry import register


@register("laws.Bernstein")
@dataclass(frozen=True)
class Bernstein(NumericLaw):
    """v = Σ_j β_j C(M, j) tʲ (1 − t)^{M−j}, t = (u + bound) / (2 bound), straight beyond [−bound, bound].

    The polynomial increases where its coefficients β do. With ``tails="matching"`` θ holds a shift and
    M raw increments, each (2 bound / M) exp(r) with |r| < ``log_slope``; beyond the box the map keeps the
    slope of its edge. With ``tails="linear"`` the increments are a softmax of M − 4 numbers, two fixed ones
    standing at each end, so that beyond the box the map is the identity, twice differentiably. θ = 0 is
    the identity.

    Its own direction is the one taken from data to noise; a flow that is to score quickly takes
    ``Inverted(Bernstein())``.

    Source: Ramasinghe, Fernando, Khan & Barnes, *Robust normalizing flows using Bernstein-type polynomials*
    (2021), equation 5; the linear tails follow Arpogaus et al., *Short-term density forecasting of
    low-voltage load using Bernstein-polynomial normalizing flows* (2022).

    Args:
        degree: M, at least 5 with linear tails.
        bound: half the width of the box.
        tails: "matching" or "linear".
        log_slope: the largest |r| of the matching tails.
        min_slope: the share of the identity.

    >>> law = Bernstein(degree=8)
    >>> law.forward(torch.tensor([0.5]), torch.zeros(1, law.n_params))
    (tensor([0.5000]), tensor([0.]))
    """

    degree: int = 16
    bound: float = 5.0
    tails: str = "matching"
    log_slope: float = 7.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        one_of("tails", self.tails, ("matching", "linear"))
        at_least("degree", self.degree, 1)
        if self.tails == "linear" and self.degree < 5:
            raise ConfigError(f"degree={self.degree!r} must be at least 5 with tails='linear'.")
        number("bound", self.bound, above=0)
        number("log_slope", self.log_slope, above=0, most=20)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return M + 1, or M − 4 with linear tails."""
        return self.degree + 1 if self.tails == "matching" else self.degree - 4

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the polynomial and its log-slope."""
        start, rise = self._increments(theta)
        t = (u + self.bound) / (2 * self.bound)
        log_slope = ((rise * _basis(t, self.degree - 1)).sum(-1) * (self.degree / (2 * self.bound))).log()
        # Σ_j β_j b_j(t) = β₀ + Σ_j (β_j − β_{j−1}) Σ_{i≥j} b_i(t): positive terms only.
        tail_sums = _basis(t, self.degree).flip(-1).cumsum(-1).flip(-1)
        return start + (rise * tail_sums[..., 1:]).sum(-1), log_slope

    def _increments(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return β₀ and the M differences of the coefficients."""
        unit = 2 * self.bound / self.degree
        if self.tails == "matching":
            return theta[..., 0] - self.bound, unit * bounded(theta[..., 1:], self.log_slope).exp()
        inner = theta.softmax(-1) * (unit * (self.degree - 4))
        ends = torch.full_like(theta[..., :1], unit).expand(*theta.shape[:-1], 2)
        return torch.full_like(theta[..., 0], -self.bound), torch.cat([ends, inner, ends], -1)

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε and the largest increment's slope."""
        steepest = math.exp(self.log_slope) if self.tails == "matching" else float(max(self.degree - 4, 1))
        return self.min_slope, self.min_slope + (1 - self.min_slope) * steepest


def _basis(t: Tensor, degree: int) -> Tensor:
    """Return the ``degree`` + 1 Bernstein polynomials C(M, j) tʲ (1 − t)^{M−j}, in a last dimension."""
    up, down = [torch.ones_like(t)], [torch.ones_like(t)]
    for _ in range(degree):
        up.append(up[-1] * t)
        down.append(down[-1] * (1 - t))
    terms = [math.comb(degree, j) * up[j] * down[degree - j] for j in range(degree + 1)]
    return torch.stack(terms, -1)
