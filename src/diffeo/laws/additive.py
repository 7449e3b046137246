"""The additive law of NICE: volume-preserving."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.kernels.native import Compiled
from diffeo.kernels.safe import split_safe
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.Additive")
@dataclass(frozen=True)
class Additive(Law):
    """v = u + t, with log ∂v/∂u = 0.

    Source: Dinh, Krueger & Bengio, *NICE* (2014), equation 5.

    >>> v, log_slope = Additive().forward(torch.tensor([1.0]), torch.tensor([[0.5]]))
    >>> v, log_slope
    (tensor([1.5000]), tensor([0.]))
    """

    @property
    def n_params(self) -> int:
        """Return 1: the shift t."""
        return 1

    def compiled(self) -> Compiled:
        """Return the kernels' additive law."""
        return Compiled("additive")

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u + t and 0."""
        ok, inner = split_safe(u)
        return torch.where(ok, inner + theta[..., 0], u), torch.zeros_like(u)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v − t and 0."""
        ok, inner = split_safe(v)
        return torch.where(ok, inner - theta[..., 0], v), torch.zeros_like(v)

    def slope_bounds(self) -> tuple[float, float]:
        """Return (1, 1)."""
        return 1.0, 1.0
