"""The uniform base on a box."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.distributions.base import Base
from diffeo.errors import ConfigError, number
from diffeo.kernels.safe import sum_event
from diffeo.registry import register


@register("distributions.Uniform")
class Uniform(Base):
    """π(z) = ∏ᵢ 1 / (high − low) on [low, high]ᴰ, and 0 outside.

    ``Uniform(features, low=-math.pi, high=math.pi)`` is the uniform density of the circle and the torus.

    >>> base = Uniform(2, low=0.0, high=2.0)
    >>> base.log_prob(torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
    tensor([-1.3863,    -inf])
    """

    def __init__(self, features: int | Sequence[int], low: float = 0.0, high: float = 1.0) -> None:
        super().__init__(features)
        number("low", low)
        number("high", high)
        if not low < high:
            raise ConfigError(f"low={low!r} must be below high={high!r}.")
        self.low, self.high = float(low), float(high)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return −D log(high − low) inside the box, −inf outside."""
        fixed = z.detach()
        inside = (fixed >= self.low) & (fixed <= self.high)
        outside = torch.where(fixed.isnan(), fixed, -torch.inf)
        return sum_event(torch.where(inside, -math.log(self.high - self.low), outside), self.event_ndim)

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return uniform draws."""
        u = torch.rand(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        return self.low + (self.high - self.low) * u
