"""Space to channels: what lets a layer that mixes channels see neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, at_least
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.Squeeze")
class Squeeze(Bijection):
    """From data to noise, (C, H, W) becomes (f²C, H/f, W/f): a square of f × f pixels becomes f² channels.

    ``inverse`` squeezes, ``forward`` (noise to data) spreads out again; the log-determinant is 0. Channel c
    of the image becomes the channels f²c … f²c + f² − 1, in the order of ``torch.nn.PixelUnshuffle``. The
    two sides have different shapes: what stands before it in a chain has ``noise_shape``, what stands after
    it ``data_shape``.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.6.

    Args:
        shape: (C, H, W) of the data side.
        factor: f; it divides H and W.

    Raises:
        ConfigError: ``shape`` is no (C, H, W), or ``factor`` does not divide it.
        ShapeError: a value does not end in the shape of its side.

    >>> squeeze = Squeeze((1, 4, 2))
    >>> z, _ = squeeze.inverse(torch.arange(8.0).reshape(1, 4, 2))
    >>> z.shape, z[:, 0, 0]
    (torch.Size([4, 2, 1]), tensor([0., 1., 2., 3.]))
    """

    event_ndim = 3

    def __init__(self, shape: Sequence[int], factor: int = 2) -> None:
        super().__init__()
        at_least("factor", factor, 1)
        sizes = event_shape_of(shape)
        if len(sizes) != 3:
            raise ConfigError(f"shape={shape!r:.80} must be (channels, height, width), as (3, 32, 32).")
        channels, height, width = sizes
        if height % factor or width % factor:
            raise ConfigError(
                f"factor={factor} does not divide the height {height} and the width {width}; expected a "
                "divisor of both: pad or crop the images, or choose another."
            )
        self.factor, self.data_shape = factor, sizes
        self.noise_shape = torch.Size([channels * factor**2, height // factor, width // factor])

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image that ``z`` was squeezed from, and 0."""
        check_event("z", z, self.noise_shape)
        channels, height, width = self.data_shape
        f, batch = self.factor, z.shape[:-3]
        parts = z.reshape(*batch, channels, f, f, height // f, width // f)
        spread = parts.movedim((-4, -3), (-3, -1)).reshape(*batch, channels, height, width)
        return spread, z.new_zeros(batch)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``x`` with its squares as channels, and 0."""
        check_event("x", x, self.data_shape)
        channels, height, width = self.data_shape
        f, batch = self.factor, x.shape[:-3]
        parts = x.reshape(*batch, channels, height // f, f, width // f, f)
        squeezed = parts.movedim((-3, -1), (-4, -3)).reshape(*batch, *self.noise_shape)
        return squeezed, x.new_zeros(batch)
