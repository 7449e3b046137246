"""Elementwise affine maps with learnable parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.bijection import Bijection
from diffeo.distributions.base import event_shape_of
from diffeo.errors import number
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import bounded, sum_event
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


class _Elementwise(Bijection):
    """x = z · exp(s) + t with s, t of the event shape; subclasses say what s and t are."""

    def __init__(self, features: int | Sequence[int], bound: float) -> None:
        super().__init__()
        number("bound", bound, above=0)
        self.bound = bound
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return s (log-scale) and t (shift)."""
        raise NotImplementedError  # abstract

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z · exp(s) + t and Σ s."""
        check_event("z", z, self.event_shape)
        log_scale, shift = self.scale_and_shift()
        log_det = sum_event(log_scale, self.event_ndim)
        batch = z.shape[: z.ndim - self.event_ndim]
        return scale_shift(z, log_scale, shift), log_det.expand(batch)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x − t) · exp(−s) and −Σ s."""
        check_event("x", x, self.event_shape)
        log_scale, shift = self.scale_and_shift()
        log_det = -sum_event(log_scale, self.event_ndim)
        batch = x.shape[: x.ndim - self.event_ndim]
        return unscale_unshift(x, log_scale, shift), log_det.expand(batch)


@register("bijections.Affine")
class Affine(_Elementwise):
    """x = z ⊙ exp(s) + t with learnable s = bound · tanh(raw / bound) and t, starting at the identity.

    Args:
        features: the number of features, or an event shape.
        bound: the largest |s|.

    >>> Affine(3)(torch.ones(2, 3))[1]
    tensor([0., 0.], grad_fn=...)
    """

    def __init__(self, features: int | Sequence[int], bound: float = 10.0) -> None:
        super().__init__(features, bound)
        self.raw_log_scale = nn.Parameter(torch.zeros(self.event_shape))
        self.shift = nn.Parameter(torch.zeros(self.event_shape))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the bounded log-scale and the shift."""
        return bounded(self.raw_log_scale, self.bound), self.shift


@register("bijections.Scale")
class Scale(_Elementwise):
    """x = z ⊙ exp(s): the diagonal scaling on top of NICE, as a map from noise to data.

    NICE writes it from data to noise, h ⊙ exp(s′) with log-determinant Σ s′; here s = −s′.

    Source: Dinh, Krueger & Bengio, *NICE* (2014), section 3.3.

    >>> Scale(2)(torch.ones(2))[0]
    tensor([1., 1.], grad_fn=...)
    """

    def __init__(self, features: int | Sequence[int], bound: float = 10.0) -> None:
        super().__init__(features, bound)
        self.raw_log_scale = nn.Parameter(torch.zeros(self.event_shape))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the bounded log-scale and no shift."""
        log_scale = bounded(self.raw_log_scale, self.bound)
        return log_scale, torch.zeros_like(log_scale)
