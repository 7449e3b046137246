"""Softplus and tanh: maps onto (0, ∞) and (−1, 1) that are linear where there is room."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.pointwise import Curve, Pointwise
from diffeo.bijections.support import Logit
from diffeo.errors import at_least
from diffeo.kernels.safe import split_safe
from diffeo.registry import register


@register("bijections.Softplus")
class Softplus(Pointwise):
    """x = log(1 + eᶻ), for positive data; its inverse is z = x + log(1 − e⁻ˣ).

    log │det ∂x/∂z│ = Σ log σ(z). Beside ``Log`` it leaves large values as they are: no sample explodes. A
    value that is not positive has density zero: it is sent to −∞.

    Args:
        event_ndim: event dimensions.

    >>> Softplus()(torch.tensor([0.0, 50.0]))
    (tensor([ 0.6931, 50.0000]), tensor(-0.6931))
    """

    codomain = constraints.positive

    def __init__(self, event_ndim: int = 1) -> None:
        super().__init__()
        at_least("event_ndim", event_ndim, 1)
        self.event_ndim = event_ndim

    def curve(self, z: Tensor) -> Curve:
        """Return log(1 + eᶻ) and log σ(z)."""
        ok, inner = split_safe(z)
        # Each branch of │z│ has a derivative at 0; that of abs would be 0.
        size = torch.where(inner > 0, inner, -inner)
        rest = torch.log1p((-size).exp())
        value = torch.where(inner > 0, inner, 0.0) + rest
        log_slope = torch.where(inner > 0, 0.0, inner) - rest
        # The smallest normal number where rounding would leave the set, with the slope that was there.
        tiny = torch.finfo(z.dtype).tiny
        value = torch.where(value.detach() < tiny, tiny + (value - value.detach()), value)
        far = z.detach()
        value = torch.where(ok, value, torch.where(far < 0, tiny, far))
        return value, torch.where(ok, log_slope, far.clamp(max=0.0))

    def curve_back(self, x: Tensor) -> Curve:
        """Return x + log(1 − e⁻ˣ) and −log(1 − e⁻ˣ)."""
        inside = (x > 0) & (x < torch.inf)
        held = torch.where(inside, x, 1.0).clamp(min=torch.finfo(x.dtype).tiny)
        log_rest = (-torch.expm1(-held)).log()
        fixed = x.detach()
        outside = torch.where(fixed > 0, fixed, torch.where(fixed.isnan(), fixed, -torch.inf))
        return torch.where(inside, held + log_rest, outside), torch.where(inside, -log_rest, 0.0)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes that the logarithms round at: small x keep their digits, and z lose none."""
        return 1 + value.abs() if inverse else value * (1 + given.abs())


@register("bijections.Tanh")
class Tanh(Bijection):
    """x = tanh(z) = 2 σ(2z) − 1, for data in (−1, 1); its inverse is artanh.

    log │det ∂x/∂z│ = Σ log(1 − tanh²(z)), computed without the difference. A value outside the interval has
    density zero: it is sent to ±∞.

    Args:
        event_ndim: event dimensions.

    >>> Tanh().inverse(torch.tensor([0.5]))
    (tensor([0.5493]), tensor(0.2877))
    """

    def __init__(self, event_ndim: int = 1) -> None:
        super().__init__()
        self.box = Logit(-1.0, 1.0, event_ndim=event_ndim)
        self.event_ndim, self.codomain = event_ndim, self.box.codomain

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return tanh(z) and Σ log(1 − tanh²(z))."""
        value, log_det = self.box(2 * z)
        return value, log_det + self._doubled(z)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return artanh(x) and −Σ log(1 − x²)."""
        value, log_det = self.box.inverse(x)
        return value / 2, log_det - self._doubled(x)

    def _doubled(self, value: Tensor) -> float:
        return math.log(2) * value.shape[value.ndim - self.event_ndim :].numel()

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return those of the sigmoid and the logit."""
        if inverse:
            return self.box.rounding_scale(given, 2 * value, inverse=True) / 2
        return self.box.rounding_scale(2 * given, value, inverse=False)
