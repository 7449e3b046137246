"""The affine law of Real NVP, with a smooth bounded scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from diffeo.errors import number
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.native import Compiled
from diffeo.kernels.safe import bounded
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.Affine")
@dataclass(frozen=True)
class Affine(Law):
    """v = u · exp(s) + t with s = b · tanh(θ₀ / b) and t = θ₁; log ∂v/∂u = s.

    The bound b keeps every slope within [e⁻ᵇ, eᵇ]: one extreme output of a conditioner cannot make the
    flow overflow, and the flow stays invertible in float32.

    Source: Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP* (2017), equations 7–8;
    the tanh follows their section 4.1.

    Args:
        bound: the largest |s|, in nats per element.

    >>> import torch
    >>> v, log_slope = Affine().forward(torch.tensor([2.0]), torch.tensor([[0.0, 1.0]]))
    >>> v, log_slope
    (tensor([3.]), tensor([0.]))
    """

    bound: float = 2.0

    def __post_init__(self) -> None:
        number("bound", self.bound, above=0, most=20)

    @property
    def n_params(self) -> int:
        """Return 2: the raw log-scale and the shift."""
        return 2

    def compiled(self) -> Compiled:
        """Return the kernels' affine law."""
        return Compiled("affine", (self.bound,))

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u · exp(s) + t and s."""
        log_scale = bounded(theta[..., 0], self.bound)
        return scale_shift(u, log_scale, theta[..., 1]), log_scale

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return (v − t) · exp(−s) and −s."""
        log_scale = bounded(theta[..., 0], self.bound)
        return unscale_unshift(v, log_scale, theta[..., 1]), -log_scale

    def slope_bounds(self) -> tuple[float, float]:
        """Return (e⁻ᵇ, eᵇ)."""
        return math.exp(-self.bound), math.exp(self.bound)
