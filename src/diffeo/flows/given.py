"""A flow with its context bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffeo.flows.flow import Flow


class GivenFlow:
    """A flow with its context bound, p(· | c): the same code, one argument less."""

    def __init__(self, flow: Flow, context: Tensor) -> None:
        self.flow, self.context = flow, context

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | c)."""
        return self.flow.log_prob(x, self.context)

    def encode(self, x: Tensor) -> Tensor:
        """Return z = f⁻¹(x; c)."""
        return self.flow.encode(x, self.context)

    def decode(self, z: Tensor) -> Tensor:
        """Return x = f(z; c)."""
        return self.flow.decode(z, self.context)

    def sample(self, shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Return draws of shape ``shape + context_batch + event``."""
        return self.flow.sample(shape, self.context, generator=generator)

    def rsample(self, shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        """Return draws with gradients."""
        return self.flow.rsample(shape, self.context, generator=generator)

    def sample_and_log_prob(
        self, shape: Sequence[int] = (), *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return draws and their log p."""
        return self.flow.sample_and_log_prob(shape, self.context, generator=generator)

    def distribution(self) -> Any:
        """Return the ``torch.distributions.Distribution``."""
        return self.flow.distribution(self.context)
