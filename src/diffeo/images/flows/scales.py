"""The multi-scale architecture: work on an image, squeeze it, let half of it go, work on the rest.

From data to noise, at each scale but the last:

    (C, H, W) —fine layers→ (C, H, W) —squeeze→ (4C, H/2, W/2) —coarse layers→ (2C, H/2, W/2) and as many
    elements that are factored out; the first half is the image of the next scale.

What is factored out is kept where it was: z has the shape of x, and decode(encode(x)) is x. A scale is one
layer of the chain of the scale above, its :class:`~diffeo.bijections.Squeezed`.

Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.6, equations 13–16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from diffeo.bijections import Bijection, Chain, Split, Squeezed
from diffeo.conditioners.convolutional import image_of
from diffeo.distributions import Base, StandardNormal
from diffeo.errors import ConfigError, at_least
from diffeo.flows import Flow

#: (shape, scale) ↦ layers of images of that shape, from noise to data; the scale of the data is 0.
MakeLayers: TypeAlias = Callable[[tuple[int, int, int], int], list[Bijection]]


def image_shape(shape: Sequence[int], divisor: int = 1, why: str = "") -> tuple[int, int, int]:
    """Return (C, H, W), or raise unless it is one, of sizes that ``divisor`` divides.

    >>> image_shape([3, 32, 32], 4)
    (3, 32, 32)
    """
    channels, height, width = image_of(shape)
    if height % divisor or width % divisor:
        raise ConfigError(
            f"shape={tuple(shape)!r} has a height and width of {height} and {width}; expected multiples of "
            f"{divisor}, {why}: pad or crop the images, or choose another setting."
        )
    return channels, height, width


def scaled_shape(
    shape: Sequence[int], scales: int, squeezes: int, setting: str = "scales"
) -> tuple[int, int, int]:
    """Return (C, H, W), or raise unless it can be squeezed as often as ``scales`` scales ask for."""
    at_least(setting, scales, 1)
    return image_shape(shape, 2**squeezes, f"since {setting}={scales} halve them {squeezes} time(s)")


def multi_scale(
    shape: tuple[int, int, int], scales: int, fine: MakeLayers, coarse: MakeLayers, last: MakeLayers
) -> Bijection:
    """Return the map of ``scales`` scales, from noise to data.

    Args:
        shape: (C, H, W) of the data.
        scales: how many there are.
        fine: the layers before an image is squeezed, nearest the data.
        coarse: the layers of the squeezed image, half of which is then factored out.
        last: the layers of the last scale.
    """

    def from_scale(shape: tuple[int, int, int], scale: int) -> Bijection:
        if scale == scales - 1:
            return Chain(*last(shape, scale))
        inner = squeezed(shape)
        half = inner[0] // 2, *inner[1:]
        below = Split(inner, half[0], from_scale(half, scale + 1))
        return Chain(Squeezed(shape, Chain(below, *coarse(inner, scale))), *fine(shape, scale))

    return from_scale(shape, 0)


def squeezed(shape: tuple[int, int, int], factor: int = 2) -> tuple[int, int, int]:
    """Return the shape of a squeezed image."""
    channels, height, width = shape
    return channels * factor**2, height // factor, width // factor


def image_flow(shape: tuple[int, int, int], bijection: Bijection, base: Base | None) -> Flow:
    """Return the flow of images over ``base``, the standard normal if not given."""
    return Flow(StandardNormal(torch.Size(shape)) if base is None else base, bijection)
