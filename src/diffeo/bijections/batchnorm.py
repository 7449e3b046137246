"""Batch normalisation as a bijection, Real NVP's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.replay import Reversal
from diffeo.bijections.statistics import finite_rows
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, number
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import split_safe
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.BatchNorm")
class BatchNorm(Bijection):
    """z = (x − μ) / √(σ² + ε), with log │det ∂z/∂x│ = −½ Σ log(σ² + ε).

    In evaluation mode μ and σ² are running statistics, and both directions are each other's inverse. In
    training mode ``inverse`` (data to noise) uses the statistics of the batch, with their gradients,
    and moves the running ones towards them; the log-determinant is that of the map applied, with the
    statistics held fixed as in the paper. ``forward`` uses the running statistics in both modes.
    A row that is not finite takes no part in the statistics.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.7 and appendix E.

    Args:
        features: the number of features, or (channels, height, width): then statistics are a channel's.
        momentum: the weight of a new batch in the running statistics.
        eps: ε.

    Raises:
        ConfigError: a training batch has a single row, which has no variance.

    >>> layer = BatchNorm(2).eval()
    >>> layer.inverse(torch.ones(3, 2))[1].shape
    torch.Size([3])
    """

    def __init__(self, features: int | Sequence[int], momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        number("momentum", momentum, above=0, most=1)
        number("eps", eps, above=0, below=1)
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)
        self.momentum, self.eps = momentum, eps
        channels = (self.event_shape[0], *[1] * (self.event_ndim - 1))
        self.register_buffer("mean", torch.zeros(channels))
        # σ² + ε = 1 at the start: an untrained flow is its base.
        self.register_buffer("variance", torch.full(channels, 1.0 - eps))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set the running statistics from the finite rows of ``x``, unless that was done before."""
        if bool(self.get_buffer("initialised")):
            return self
        rows = finite_rows(x, self.event_shape, "BatchNorm").to(x.dtype)
        mean, variance = self._statistics(rows.reshape(-1, *self.event_shape))
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("variance").copy_(variance)
        self.get_buffer("initialised").fill_(True)
        return self

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z √(σ² + ε) + μ and ½ Σ log(σ² + ε), with the running statistics."""
        check_event("z", z, self.event_shape)
        log_scale = 0.5 * torch.log(self.get_buffer("variance") + self.eps)
        value = scale_shift(z, log_scale, self.get_buffer("mean"))
        return value, self._sum(log_scale, z)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x − μ) / √(σ² + ε) and −½ Σ log(σ² + ε)."""
        check_event("x", x, self.event_shape)
        if self.training:
            mean, variance = self._statistics(x)
            with torch.no_grad():
                self.get_buffer("mean").lerp_(mean, self.momentum)
                self.get_buffer("variance").lerp_(variance, self.momentum)
        else:
            mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        log_scale = 0.5 * torch.log(variance + self.eps)
        return unscale_unshift(x, log_scale, mean), -self._sum(log_scale, x)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return that a training pass, which moves the running statistics, is for once."""
        return "once" if inverse and self.training else "undone"

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance a channel over the batch, leaving out values that are not finite."""
        batch_ndim = x.ndim - self.event_ndim
        if x.shape[:batch_ndim].numel() < 2:
            raise ConfigError(
                f"x has {x.shape[:batch_ndim].numel()} row(s); BatchNorm in training mode needs at "
                "least 2 for a variance. Use a larger batch, or call .eval() first."
            )
        dims = [*range(batch_ndim), *range(batch_ndim + 1, x.ndim)]
        ok, inner = split_safe(x)
        count = ok.sum(dims, keepdim=True).clamp(min=1)
        mean = inner.sum(dims, keepdim=True) / count
        variance = torch.where(ok, inner - mean, 0.0).square().sum(dims, keepdim=True) / count
        shape = self.get_buffer("mean").shape
        return mean.reshape(shape), variance.reshape(shape)

    def _sum(self, log_scale: Tensor, value: Tensor) -> Tensor:
        pixels = self.event_shape[1:].numel()
        return (log_scale.sum() * pixels).expand(value.shape[: value.ndim - self.event_ndim])
