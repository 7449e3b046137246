"""Normal bases: standard, and diagonal with learnable location and scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.distributions.base import Base
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import bounded, split_safe, sum_event
from diffeo.registry import register

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_normal(z: Tensor) -> Tensor:
    """Return log N(z; 0, 1), elementwise; far out it rounds to −inf and carries no gradient."""
    # Up to here the square is finite; beyond it overflows to the −inf that it should be.
    ok, inner = split_safe(z, 1e154 if z.dtype == torch.float64 else 1e19)
    far = -(z.detach() * math.sqrt(0.5)).square()  # halved first: where only the square is out of range
    return torch.where(ok, -0.5 * inner.square(), far) - _HALF_LOG_2PI


@register("distributions.StandardNormal")
class StandardNormal(Base):
    """π(z) = ∏ᵢ N(zᵢ; 0, 1).

    Args:
        features: the number of features, or an event shape.

    >>> StandardNormal(1).log_prob(torch.zeros(1)).item()
    -0.918...
    """

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ −zᵢ²/2 − ½ log 2π."""
        return sum_event(log_normal(z), self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return standard normal draws."""
        return torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )


@register("distributions.DiagonalNormal")
class DiagonalNormal(Base):
    """π(z) = ∏ᵢ N(zᵢ; μᵢ, σᵢ²), μ and log σ learnable, starting at the standard normal.

    |log σ| is smoothly bounded by 10.

    >>> base = DiagonalNormal(2)
    >>> base.log_prob(base.sample((7,))).shape
    torch.Size([7])
    """

    _BOUND = 10.0

    def __init__(self, features: int | Sequence[int]) -> None:
        super().__init__(features)
        self.loc = nn.Parameter(torch.zeros(self.event_shape))
        self.raw_log_scale = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def log_scale(self) -> Tensor:
        """Return log σ."""
        return bounded(self.raw_log_scale, self._BOUND)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ log N(zᵢ; μᵢ, σᵢ²)."""
        log_scale = self.log_scale
        standard = unscale_unshift(z, log_scale, self.loc)
        return sum_event(log_normal(standard) - log_scale, self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return μ + σ ε with ε standard normal."""
        noise = torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        return scale_shift(noise, self.log_scale, self.loc)
