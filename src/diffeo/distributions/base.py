"""What a base is: a density π(z) that can be evaluated and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from diffeo.errors import ConfigError
from diffeo.registry import Part


class Base(Part, nn.Module):
    """A density π(z) over events of a fixed shape.

    Shapes: ``log_prob`` takes ``batch + event`` and returns ``batch``, in nats; ``sample`` returns
    ``shape + event``, where ``shape`` already contains the batch of the context if there is one.

    A row with NaN gets NaN and a row outside the support −inf; neither touches another row's value or
    gradient.
    """

    event_shape: torch.Size
    _anchor: Tensor

    #: Features of the context that this base itself reads (a conditioner in it states its own).
    context_features: int = 0

    #: Whether events are rows packed as codes (states, cells) rather than measurements: ``fit`` then asks
    #: neither that every element varies nor that it has unit scale.
    coded: bool = False

    #: Whether :meth:`initialise` reads data: a flow then shows it the data, seen through its bijection.
    reads_data: bool = False

    #: Whether draws are differentiable in every parameter, so that gradients through them are whole.
    reparametrised: bool = True

    def __init__(self, features: int | Sequence[int]) -> None:
        super().__init__()
        self.event_shape = event_shape_of(features)
        # Carries the module's dtype and device for bases that have no other tensor, into a file too.
        self.register_buffer("_anchor", torch.zeros(()))

    @property
    def event_ndim(self) -> int:
        """Return the number of event dimensions."""
        return len(self.event_shape)

    @property
    def dtype(self) -> torch.dtype:
        """Return the floating dtype that this base computes in."""
        return self._anchor.dtype

    @property
    def device(self) -> torch.device:
        """Return the device that this base lives on."""
        return self._anchor.device

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log π(z)."""
        raise NotImplementedError  # abstract

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return draws z ~ π, differentiable in the base's parameters where it has any."""
        raise NotImplementedError  # abstract

    def initialise(self, z: Tensor, context: Tensor | None = None) -> Self:
        """Set what is read off training rows ``z`` (x through the flow's inverse), once.

        A base that has been initialised, or was loaded, stays as it is. Returns the base.
        """
        return self

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log π(z)."""
        return self.log_prob(z, context)


def event_shape_of(features: int | Sequence[int]) -> torch.Size:
    """Return the event shape that ``features`` (a count, or a shape such as C, H, W) stands for."""
    sizes: list[Any] = list(features) if isinstance(features, list | tuple) else [features]
    if not sizes or not all(
        isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes
    ):
        raise ConfigError(
            f"features={features!r} must be a positive integer, or a shape of them as (3, 32, 32)."
        )
    return torch.Size(sizes)
