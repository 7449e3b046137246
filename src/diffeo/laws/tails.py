"""Heavy tails, one weight for each side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.kernels.normal import hazard, log_lower, lower_quantile
from diffeo.kernels.safe import bounded, split_safe
from diffeo.laws.law import Law
from diffeo.registry import register

_LOG_SCALE = 5.0
_SMALLEST = 1e-2


@register("laws.Tails")
@dataclass(frozen=True)
class Tails(Law):
    """v = μ + σ (s / λ_s) (erfc(│u│ / √2)^−λ_s − 1) with s = sign(u): a normal tail becomes a power law.

    If u is standard normal, P(│v│ > r) falls as r^(−1/λ): λ is the tail's shape, 1/λ the degrees of freedom
    of the Student t that falls as fast, and each side has its own. θ holds, for each element, μ, the raw
    log-scale (|log σ| < 5) and two raw shapes; at θ = 0 both shapes are ``shape``. It is no identity at any
    θ, so it stands last in a flow, next to the data. Both directions are closed.

    Beyond │v − μ│ = ``reach`` · σ / λ, 10¹⁵ scales away, the map goes on straight, so that its slope stays
    bounded and no number overflows.

    Source: Hickling & Prangle, *Flexible tails for normalizing flows* (2025), equation 5.

    Args:
        shape: λ of the untrained law; 1 is Cauchy's tail, 1/ν is Student's.
        max_shape: the largest λ.
        reach: λ times the scales beyond which the map goes on straight.

    >>> law = Tails()
    >>> v, log_slope = law.forward(torch.tensor([0.0, 3.0]), torch.zeros(2, 4))
    >>> v
    tensor([0.0000, 8.0662])
    """

    shape: float = 0.1
    max_shape: float = 1.0
    reach: float = 1e15

    def __post_init__(self) -> None:
        number("max_shape", self.max_shape, above=2 * _SMALLEST, most=2)
        number("shape", self.shape, above=_SMALLEST, below=self.max_shape)
        number("reach", self.reach, least=1e3, most=1e15)

    @property
    def n_params(self) -> int:
        """Return 4: μ, log σ, and the shapes of the lower and of the upper tail."""
        return 4

    def shapes(self, theta: Tensor) -> Tensor:
        """Return λ₋ and λ₊ in (0.01, ``max_shape``), in a last dimension.

        >>> Tails(shape=0.5).shapes(torch.zeros(4))
        tensor([0.5000, 0.5000])
        """
        share = (self.shape - _SMALLEST) / (self.max_shape - _SMALLEST)
        odds = math.log(share / (1 - share))
        # 1 / (1 + e⁻ᵃ), whose exponential is bounded: a row's bits depend on the row alone.
        weight = 1 / (1 + torch.exp(-(bounded(theta[..., 2:], 20.0) + odds)))
        return _SMALLEST + (self.max_shape - _SMALLEST) * weight

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        ok, safe = split_safe(u)
        up = safe > 0
        size = torch.where(up, safe, -safe)
        shape, log_scale = self._of(theta, up)
        edge = self._edge(shape)
        near = torch.where(size < edge, size, edge)
        excess, log_slope = _stretched(near, shape)
        away = excess + log_slope.exp() * (size - near)
        scale = log_scale.exp()
        value = theta[..., 0] + scale * torch.where(up, away, -away)
        log_slope = log_slope + log_scale
        return torch.where(ok, value, u * log_slope.detach().exp()), log_slope

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        ok, safe = split_safe(v)
        off = safe - theta[..., 0]
        up = off > 0
        shape, log_scale = self._of(theta, up)
        away = torch.where(up, off, -off) * (-log_scale).exp()
        edge = self._edge(shape)
        top, edge_slope = _stretched(edge, shape)
        inside = away < top
        near = torch.where(inside, away, 0.0)
        # erfc(│u│ / √2) = (1 + λ r)^(−1/λ), and erfc(│u│ / √2) = 2 Φ(−│u│).
        size = -lower_quantile(-torch.log1p(shape * near) / shape - math.log(2))
        _, log_slope = _stretched(size, shape)
        size = torch.where(inside, size, edge + (away - top) * (-edge_slope).exp())
        log_slope = -torch.where(inside, log_slope, edge_slope) - log_scale
        far = v * log_slope.exp().detach()
        return torch.where(ok, torch.where(up, size, -size), far), log_slope

    def _of(self, theta: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shape of the side that each element is on, and log σ."""
        shapes = self.shapes(theta)
        return torch.where(up, shapes[..., 1], shapes[..., 0]), bounded(theta[..., 1], _LOG_SCALE)

    def _edge(self, shape: Tensor) -> Tensor:
        """Return │u│ where the map has reached so far: (1 + λ r) = erfc(│u│ / √2)^−λ is ``reach``."""
        return -lower_quantile(-math.log(self.reach) / shape - math.log(2))

    def slope_bounds(self) -> tuple[float, float]:
        """Return σ_min √(2/π), the slope in the middle, and the slope at the edge under the smallest λ."""
        shape = torch.tensor(_SMALLEST, dtype=torch.float64)
        _, log_slope = _stretched(self._edge(shape), shape)
        return math.exp(-_LOG_SCALE) * math.sqrt(2 / math.pi), math.exp(float(log_slope) + _LOG_SCALE)


def _stretched(size: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return r = (erfc(a / √2)^−λ − 1) / λ for a ≥ 0, and log ∂r/∂a = −λ log erfc(a / √2) + log h(a)."""
    log_erfc = log_lower(-size) + math.log(2)
    grown = -shape * log_erfc
    # erfc′ / erfc is minus the normal hazard: both describe the tail beyond a.
    return torch.expm1(grown) / shape, grown + hazard(size).log()
