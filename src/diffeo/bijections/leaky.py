"""The leaky rectifier: a kink at 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.bijections.pointwise import Curve, Pointwise
from diffeo.errors import at_least, number
from diffeo.registry import register


@register("bijections.LeakyReLU")
class LeakyReLU(Pointwise):
    """x = z where z ≥ 0, and slope · z below; log │det ∂x/∂z│ = Σ log slope over the negative elements.

    The density jumps where an element is 0: put linear maps between.

    Args:
        slope: the slope below 0, above 0; the kink vanishes at 1.
        event_ndim: event dimensions.

    Raises:
        ConfigError: an argument is out of range.

    >>> LeakyReLU(0.5)(torch.tensor([-2.0, 3.0]))
    (tensor([-1.,  3.]), tensor(-0.6931))
    """

    def __init__(self, slope: float = 0.01, event_ndim: int = 1) -> None:
        super().__init__()
        number("slope", slope, least=1e-6, most=1e6)
        at_least("event_ndim", event_ndim, 1)
        self.slope, self.event_ndim = float(slope), event_ndim

    def curve(self, z: Tensor) -> Curve:
        """Return z or slope · z, and the logarithm of the slope."""
        below = z < 0
        return torch.where(below, self.slope * z, z), torch.where(
            below, math.log(self.slope), torch.zeros_like(z)
        )

    def curve_back(self, x: Tensor) -> Curve:
        """Return x or x / slope, and the logarithm of the slope."""
        below = x < 0
        return torch.where(below, x / self.slope, x), torch.where(
            below, -math.log(self.slope), torch.zeros_like(x)
        )

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the size of each element: a product rounds at no other."""
        return value.abs()
