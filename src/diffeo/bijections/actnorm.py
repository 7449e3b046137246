"""Activation normalisation, Glow's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.statistics import finite_rows, location_and_scale
from diffeo.distributions.base import event_shape_of
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.ActNorm")
class ActNorm(Bijection):
    """x = z ⊙ exp(s) + t, s and t learnable, set by :meth:`initialise` so that z has mean 0, variance 1.

    Vectors have one s and t a feature, images one a channel (then Σ s counts each H·W times). Whether it
    has been initialised is a buffer: it is saved, and copied to replicas.

    Source: Kingma & Dhariwal, *Glow* (2018), section 3.1.

    >>> x = torch.tensor([[1.0], [3.0]])
    >>> ActNorm(1).initialise(x).inverse(x)[0]
    tensor([[-1.],
            [ 1.]], grad_fn=...)
    """

    def __init__(self, features: int | Sequence[int]) -> None:
        super().__init__()
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)
        channels = (self.event_shape[0], *[1] * (self.event_ndim - 1))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set s and t from the finite rows of ``x``, unless that was done before."""
        if bool(self.get_buffer("initialised")):
            return self
        rows = finite_rows(x, self.event_shape, "ActNorm")
        if self.event_ndim > 1:
            rows = rows.reshape(-1, self.event_shape[0], math.prod(self.event_shape[1:]))
            rows = rows.transpose(1, 2).reshape(-1, self.event_shape[0])
        loc, scale = location_and_scale(rows, "moments")
        self.shift.copy_(loc.reshape(self.shift.shape))
        self.log_scale.copy_(scale.log().reshape(self.log_scale.shape))
        self.get_buffer("initialised").fill_(True)
        return self

    def _log_det(self, value: Tensor) -> Tensor:
        repeats = math.prod(self.event_shape[1:])
        return (self.log_scale.sum() * repeats).expand(value.shape[: value.ndim - self.event_ndim])

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z ⊙ exp(s) + t and Σ s."""
        check_event("z", z, self.event_shape)
        return scale_shift(z, self.log_scale, self.shift), self._log_det(z)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x − t) ⊙ exp(−s) and −Σ s."""
        check_event("x", x, self.event_shape)
        return unscale_unshift(x, self.log_scale, self.shift), -self._log_det(x)
