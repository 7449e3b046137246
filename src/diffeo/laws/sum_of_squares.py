"""The integral of a sum of squared polynomials."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import at_least, number
from diffeo.kernels.quadrature import gauss_legendre
from diffeo.kernels.safe import bounded
from diffeo.laws.law import spread
from diffeo.laws.numeric import NumericLaw
from diffeo.registry import register


@register("laws.SumOfSquares")
@dataclass(frozen=True)
class SumOfSquares(NumericLaw):
    """v = c + ∫₀ᵘ (1/K) Σ_k (1 + Σ_{l≤L} a_{k,l} (t / bound)ˡ)² dt on [−bound, bound], straight beyond it.

    A polynomial of degree at most 2 L + 1 that increases on all of ℝ is such an integral, since its slope
    is a sum of two squares: for K ≥ 2, coefficients within ``limit``, and ``min_slope=0``. θ holds for each
    element, the K (L + 1) coefficients a (each within ±``limit``, smoothly) and the shift c; θ = 0 is the
    identity: the 1 stands for it. The integral is exact: L + 1 Gauss–Legendre nodes integrate a polynomial
    of degree 2 L. The inverse is a bracketed root.

    Its own direction is the one that the source takes from noise to data; a flow that is to score quickly
    takes ``Inverted(SumOfSquares())``.

    Source: Jaini, Selby & Yu, *Sum-of-squares polynomial flow* (2019), equation 9; the 1 and the unit of t
    follow later implementations.

    Args:
        polynomials: K.
        degree: L.
        bound: half the width of the box.
        limit: the largest |a|.
        min_slope: the share of the identity.

    >>> law = SumOfSquares()
    >>> law.forward(torch.tensor([0.5]), torch.zeros(1, law.n_params))
    (tensor([0.5000]), tensor([0.]))
    """

    polynomials: int = 3
    degree: int = 4
    bound: float = 5.0
    limit: float = 50.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        at_least("polynomials", self.polynomials, 1)
        at_least("degree", self.degree, 0)
        number("bound", self.bound, above=0)
        number("limit", self.limit, above=0)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return K (L + 1) + 1."""
        return self.polynomials * (self.degree + 1) + 1

    @property
    def start(self) -> tuple[float, ...]:
        """Return polynomials whose highest terms are apart: near the identity."""
        terms: list[float] = []
        for highest in spread(self.polynomials, 0.3):
            terms += [0.0] * self.degree + [highest]
        return (*terms, 0.0)

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return c + the integral, and the logarithm of the integrand."""
        terms = bounded(theta[..., :-1], self.limit).unflatten(-1, (self.polynomials, self.degree + 1))
        # ∫₀ᵘ p = u Σ_q w_q p(u t_q).
        integral = torch.zeros_like(u)
        for node, weight in gauss_legendre(self.degree + 1):
            integral = integral + weight * self._squares(u * node, terms)
        # An even sum of real squares may be 0; its logarithm is −∞ only without the share of the identity.
        slope = self._squares(u, terms).clamp(min=torch.finfo(u.dtype).tiny)
        return theta[..., -1] + u * integral, slope.log()

    def _squares(self, t: Tensor, terms: Tensor) -> Tensor:
        """Return (1/K) Σ_k (1 + Σ_l a_{k,l} (t / bound)ˡ)², by Horner's rule."""
        scaled = (t / self.bound).unsqueeze(-1)
        total = terms[..., -1]
        for power in range(self.degree - 1, -1, -1):
            total = total * scaled + terms[..., power]
        return (1 + total).square().mean(-1)

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε and ε + (1 − ε)(1 + (L + 1) limit)²."""
        steepest = (1 + (self.degree + 1) * self.limit) ** 2
        return self.min_slope, self.min_slope + (1 - self.min_slope) * steepest
