"""The standard logistic base, the prior of NICE."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.distributions.base import Base
from diffeo.kernels.safe import split_safe, sum_event
from diffeo.registry import register


@register("distributions.StandardLogistic")
class StandardLogistic(Base):
    """π(z) = ∏ᵢ σ(zᵢ) σ(−zᵢ), the logistic density of location 0 and scale 1.

    Source: Dinh, Krueger & Bengio, *NICE* (2014), section 3.4.

    >>> StandardLogistic(1).log_prob(torch.zeros(1)).item()  # log ¼
    -1.386...
    """

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ −|zᵢ| − 2 log(1 + exp(−|zᵢ|))."""
        ok, inner = split_safe(z)
        size = torch.where(inner > 0, inner, -inner)  # │z│, smooth at 0 once the terms are added
        inside = -size - 2 * torch.log1p(torch.exp(-size))
        return sum_event(torch.where(ok, inside, -z.detach().abs()), self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return log u − log(1 − u), u uniform."""
        u = torch.rand(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        info = torch.finfo(self.dtype)
        return torch.logit(u.clamp(info.tiny, 1 - info.eps / 2))
