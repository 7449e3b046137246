"""The integral of a positive network."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import at_least, number
from diffeo.kernels.quadrature import gauss_legendre
from diffeo.kernels.safe import bounded
from diffeo.laws.law import spread
from diffeo.laws.numeric import NumericLaw
from diffeo.registry import register

#: Nodes of the quadrature: see the class for why they are enough.
_NODES = 64
_SHARPEST, _HEAVIEST, _SHIFT = 6.0, 1.0, 2.0


@register("laws.MonotonicIntegral")
@dataclass(frozen=True)
class MonotonicIntegral(NumericLaw):
    """v = c + ∫₀ᵘ exp(d + Σ_h w_h tanh(a_h t / bound + b_h)) dt on [−bound, bound], straight beyond it.

    The logarithm of the slope is a free network of one hidden layer, all of whose weights are θ: for each
    element H raw inner weights (|a| < 6), H inner offsets b, H outer weights (|w| < 1), the raw log-scale d
    (|d| < 2) and the shift c. θ = 0 is the identity. The inverse is a bracketed root.

    The integral is a Gauss–Legendre sum of 64 nodes. tanh has its poles at ±iπ/2, so the bounds on a and
    w keep the integrand analytic, and small, on an ellipse around [0, u] for which the sum is exact to
    about 10⁻¹⁰ whatever θ is: value and log-slope belong to one map, which a fixed number of nodes under
    a free network does not give.

    Its own direction is the one taken from data to noise; a flow that is to score quickly takes
    ``Inverted(MonotonicIntegral())``.

    Source: Wehenkel & Louppe, *Unconstrained monotonic neural networks* (2019), equation 1.

    Args:
        units: H.
        bound: half the width of the box.
        min_slope: the share of the identity.

    >>> law = MonotonicIntegral(units=2)
    >>> law.forward(torch.tensor([0.5]), torch.zeros(1, law.n_params))
    (tensor([0.5000]), tensor([0.]))
    """

    units: int = 8
    bound: float = 5.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        at_least("units", self.units, 1)
        number("units", self.units, most=16)  # the sum's error grows with exp(units)
        number("bound", self.bound, above=0)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 3 H + 2."""
        return 3 * self.units + 2

    @property
    def breadth(self) -> int:
        """Return 64 H: hidden units at all nodes."""
        return _NODES * self.units

    @property
    def start(self) -> tuple[float, ...]:
        """Return hidden units that bend at places of their own, with no weight yet: the identity."""
        n = self.units
        return (3.0,) * n + spread(n, 3.0) + (0.0,) * (n + 2)

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return c + the integral, and the logarithm of the integrand."""
        rule = u.new_tensor(gauss_legendre(_NODES))
        t = u.unsqueeze(-1) * rule[:, 0]
        integrand = self.log_integrand(t, theta.unsqueeze(-2)).exp()
        integral = (integrand * rule[:, 1]).sum(-1)
        return theta[..., -1] + u * integral, self.log_integrand(u, theta)

    def log_integrand(self, t: Tensor, theta: Tensor) -> Tensor:
        """Return d + Σ_h w_h tanh(a_h t / bound + b_h)."""
        n = self.units
        inner = bounded(theta[..., :n], _SHARPEST) / self.bound
        outer = bounded(theta[..., 2 * n : 3 * n], _HEAVIEST)
        # A hidden unit centred beyond the box is flat in it, whatever its offset.
        offset = bounded(theta[..., n : 2 * n], 2 * _SHARPEST)
        hidden = torch.tanh(inner * t.unsqueeze(-1) + offset)
        return bounded(theta[..., 3 * n], _SHIFT) + (outer * hidden).sum(-1)

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε + (1 − ε) exp(∓(H + 2))."""
        reach = math.exp(self.units * _HEAVIEST + _SHIFT)
        return self.min_slope + (1 - self.min_slope) / reach, self.min_slope + (1 - self.min_slope) * reach
