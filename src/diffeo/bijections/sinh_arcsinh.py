"""Skewness and tails: the sinh-arcsinh transformation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.pointwise import Curve, Pointwise
from diffeo.distributions.base import event_shape_of
from diffeo.errors import number
from diffeo.kernels.safe import bounded, safe_limit, split_safe
from diffeo.kernels.shapes import check_event
from diffeo.kernels.snap import snap
from diffeo.registry import register


@register("bijections.SinhArcsinh")
class SinhArcsinh(Pointwise):
    """x = sinh(eˢ (arsinh(z) + ε)): ε skews, s > 0 makes the tails heavier, s < 0 lighter.

    With w = eˢ (arsinh(z) + ε): log ∂x/∂z = s + log cosh w − ½ log(1 + z²). Far out it is a power,
    │x│ ∝ │z│^exp(s). At ε = s = 0, where it starts, it is the identity.

    Source: Jones & Pewsey, *Sinh-arcsinh distributions* (2009), whose map from data to noise is the
    inverse of this: their δ is e⁻ˢ, their ε the same.

    Args:
        features: the number of features, or an event shape; each element has its ε and s.
        bound: the largest │s│, at most 0.6: exponents from 0.55 to 1.82.
        skew: the largest │ε│, at most 4.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in the event shape.

    >>> SinhArcsinh(3)(torch.ones(3))
    (tensor([1., 1., 1.], grad_fn=...), tensor(0., grad_fn=...))
    """

    def __init__(self, features: int | Sequence[int], bound: float = 0.6, skew: float = 3.0) -> None:
        super().__init__()
        number("bound", bound, above=0, most=0.6)
        number("skew", skew, above=0, most=4)
        self.bound, self.skew = bound, skew
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)
        self.raw_log_tail = nn.Parameter(torch.zeros(self.event_shape))
        self.raw_skewness = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def log_tail(self) -> Tensor:
        """Return s, of the event shape."""
        return bounded(self.raw_log_tail, self.bound)

    @property
    def skewness(self) -> Tensor:
        """Return ε, of the event shape."""
        return bounded(self.raw_skewness, self.skew)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and the summed log-slopes."""
        check_event("z", z, self.event_shape)
        return super().forward(z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and the summed log-slopes."""
        check_event("x", x, self.event_shape)
        return super().inverse(x, context)

    def curve(self, z: Tensor) -> Curve:
        """Return sinh(eˢ (arsinh z + ε)) and its log-slope."""
        log_tail, skewness = self.log_tail.flatten(), self.skewness.flatten()
        return _bent(z, log_tail, log_tail.exp() * skewness)

    def curve_back(self, x: Tensor) -> Curve:
        """Return sinh(e⁻ˢ arsinh x − ε) and its log-slope."""
        return _bent(x, -self.log_tail.flatten(), -self.skewness.flatten())

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the size of sinh's slope times that of its argument."""
        return (1 + value.abs()) * (1 + self.skew + torch.asinh(value.abs()))


def _bent(u: Tensor, log_power: Tensor, shift: Tensor) -> Curve:
    """Return sinh(w), w = eᵖ arsinh(u) + t, and p + log cosh w − ½ log(1 + u²)."""
    # A power of a number below the root of the safe limit has finite derivatives.
    ok, inner = split_safe(u, math.sqrt(safe_limit(u.dtype)))
    w = log_power.exp() * torch.asinh(inner) + shift
    value, log_slope = torch.sinh(w), log_power + _log_cosh(w) - 0.5 * torch.log1p(inner * inner)
    theta = torch.stack([log_power, shift], -1).expand(*u.shape, 2)
    value, log_slope = snap(inner, theta, value, log_slope)
    # Beyond it arsinh u = ± log 2│u│ to a rounding.
    power, moved, far = log_power.detach(), shift.detach(), u.detach()
    log_size = far.abs().clamp(max=torch.finfo(u.dtype).max).log()
    far_w = far.sign() * power.exp() * (log_size + math.log(2)) + moved
    far_value = torch.where(far.isinf(), far, torch.sinh(far_w))
    return (
        torch.where(ok, value, far_value),
        torch.where(ok, log_slope, power + _log_cosh(far_w) - log_size),
    )


def _log_cosh(w: Tensor) -> Tensor:
    size = torch.where(w < 0, -w, w)
    return size + torch.log1p((-2 * size).exp()) - math.log(2)
