"""Pixels of L levels as numbers of order one, by a fixed linear map."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, at_least, number
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("images.Pixels")
class Pixels(Bijection):
    """x = L (z − low) / (high − low): a dequantised pixel x of [0, L) from z of [low, high).

    log │det ∂x/∂z│ = D log (L / (high − low)).

    Args:
        shape: (C, H, W).
        levels: L.
        low, high: where levels 0 and L go to: 0 and 1, as in NICE, −½ and ½, as in Glow.

    Raises:
        ConfigError: ``low`` is not below ``high``, or ``levels`` is no number of levels.

    >>> import torch
    >>> layer = Pixels((1, 1, 2), 256)
    >>> layer.inverse(torch.tensor([[[128.0, 0.0]]]))  # 2 log (1/256)
    (tensor([[[0.5000, 0.0000]]]), tensor(-11.0904))
    """

    def __init__(self, shape: Sequence[int], levels: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.event_shape = event_shape_of(shape)
        self.event_ndim = len(self.event_shape)
        at_least("levels", levels, 2)
        number("low", low)
        number("high", high)
        if not low < high:
            raise ConfigError(f"low={low!r} must be below high={high!r}.")
        self.levels, self.low, self.high = levels, float(low), float(high)

    @property
    def _slope(self) -> float:
        return self.levels / (self.high - self.low)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pixels and D log slope."""
        check_event("z", z, self.event_shape)
        return self._slope * (z - self.low), self._log_det(z)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the scaled pixels and −D log slope."""
        check_event("x", x, self.event_shape)
        return x / self._slope + self.low, -self._log_det(x)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes of value and shift, in the units of the output."""
        return value.abs() + abs(self.low) * (1.0 if inverse else self._slope)

    def _log_det(self, like: Tensor) -> Tensor:
        total = self.event_shape.numel() * math.log(self._slope)
        return like.new_full(like.shape[: like.ndim - self.event_ndim], total)
