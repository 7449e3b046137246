"""The invertible 1 × 1 convolution: one matrix of channels, at every pixel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.lu import LU
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.InvertibleConv1x1")
class InvertibleConv1x1(Bijection):
    """x[:, h, w] = W z[:, h, w] with W = P L U, the same at all pixels; log │det│ = H · W · log │det W│.

    Glow starts at a random rotation; this starts at the permutation P.

    Source: Kingma & Dhariwal, *Glow* (2018), section 3.2, equations 9 and 10.

    Args:
        shape: (C, H, W).
        permute: P of :class:`LU`: "none", "reverse" or "random".
        seed: of the random permutation.
        bound, shear: of :class:`LU`.

    Raises:
        ConfigError: ``shape`` is no (C, H, W), or another argument is out of range.
        ShapeError: a value does not end in ``shape``.

    >>> import torch
    >>> layer = InvertibleConv1x1((3, 4, 4))
    >>> x, log_det = layer(torch.ones(2, 3, 4, 4))
    >>> x.shape, log_det.tolist()
    (torch.Size([2, 3, 4, 4]), [0.0, 0.0])
    """

    def __init__(
        self,
        shape: Sequence[int],
        permute: str = "none",
        seed: int = 0,
        bound: float = 5.0,
        shear: float = 2.0,
    ) -> None:
        super().__init__()
        self.event_shape = event_shape_of(shape)
        self.event_ndim = 3
        if len(self.event_shape) != 3:
            raise ConfigError(f"shape={shape!r:.80} must be (channels, height, width), as (3, 32, 32).")
        self.linear = LU(self.event_shape[0], permute, seed, bound, shear)

    def matrix(self) -> Tensor:
        """Return W, shape (C, C)."""
        return self.linear.matrix()

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W z of every pixel and H · W · log │det W│."""
        check_event("z", z, self.event_shape)
        value, _ = self.linear(z.movedim(-3, -1))
        return value.movedim(-1, -3).contiguous(), self._log_det().expand(z.shape[:-3])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return W⁻¹ x of every pixel and −H · W · log │det W│."""
        check_event("x", x, self.event_shape)
        value, _ = self.linear.inverse(x.movedim(-3, -1))
        return value.movedim(-1, -3).contiguous(), (-self._log_det()).expand(x.shape[:-3])

    def _log_det(self) -> Tensor:
        return self.event_shape[1:].numel() * self.linear.log_det()

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return that of the matrix, pixel by pixel."""
        last = (given.movedim(-3, -1), value.movedim(-3, -1))
        return self.linear.rounding_scale(*last, inverse=inverse).movedim(-1, -3)
