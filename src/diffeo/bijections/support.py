"""Maps onto bounded sets: (shift, ∞) and (low, high).

Where rounding would put a sample onto the edge of the set, the nearest number inside is taken: a sample
never has density zero.
A value outside the set has density zero. It is sent to ±∞, where every base has log-density −∞; the
log-determinant of such an element is 0, so that nothing cancels it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from diffeo.bijections.bijection import Bijection
from diffeo.errors import ConfigError, at_least, number
from diffeo.kernels.safe import split_safe, sum_event
from diffeo.registry import register


def _kept(value: Tensor, low: float, high: float) -> Tensor:
    """Return ``value`` within [low, high], with the gradient that it had (a NaN stays)."""
    fixed = value.detach()
    kept = fixed.clamp(low, high)
    return torch.where(kept == fixed, value, kept + (value - fixed))


@register("bijections.Log")
class Log(Bijection):
    """x = exp(z) + shift, for data above ``shift``; its inverse is z = log(x − shift).

    log │det ∂x/∂z│ = Σ z.

    >>> Log().inverse(torch.tensor([[1.0], [-1.0]]))[0]
    tensor([[0.],
            [-inf]])
    """

    def __init__(self, shift: float = 0.0, event_ndim: int = 1) -> None:
        super().__init__()
        number("shift", shift)
        at_least("event_ndim", event_ndim, 1)
        self.shift, self.event_ndim = float(shift), event_ndim
        self.codomain = constraints.greater_than(self.shift)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return exp(z) + shift and Σ z."""
        ok, inner = split_safe(z, math.log(torch.finfo(z.dtype).max) - 1)
        value = torch.where(ok, inner.exp(), z.detach().exp()) + self.shift
        info = torch.finfo(z.dtype)
        value = _kept(value, self.shift + max(info.tiny, info.eps * abs(self.shift)), torch.inf)
        return value, sum_event(z, self.event_ndim)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log(x − shift) and −Σ log(x − shift)."""
        above = x - self.shift
        inside = (above > 0) & (above < torch.inf)
        value = torch.where(inside, above, 1.0).log()
        # −∞ below the shift, +∞ at +∞, NaN for NaN.
        outside = torch.where(above > 0, above, above * 0.0 - torch.inf).detach()
        outside = torch.where(above == -torch.inf, -torch.inf, outside)
        return torch.where(inside, value, outside), -sum_event(value, self.event_ndim)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes that exp and log round at."""
        if inverse:
            return 1 + value.abs() + abs(self.shift) * (-value).exp()
        return (value - self.shift).abs() * (1 + given.abs()) + abs(self.shift)


@register("bijections.Logit")
class Logit(Bijection):
    """x = low + (high − low) (σ(z) − α) / (1 − 2α): data in a box, its inverse a logit.

    z = logit(α + (1 − 2α)(x − low) / (high − low)). α > 0 keeps the ends of the box at finite z (Real NVP
    takes 0.05 for pixels); the density then lives on a slightly larger box, and says so in
    ``codomain``.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 4.1.

    Args:
        low, high: the box, the same for each element.
        alpha: α in [0, ½).
        event_ndim: event dimensions.

    >>> z, log_det = Logit().inverse(torch.tensor([0.5]))
    >>> z, log_det  # log 4
    (tensor([0.]), tensor(1.3863))
    """

    def __init__(
        self, low: float = 0.0, high: float = 1.0, alpha: float = 0.0, event_ndim: int = 1
    ) -> None:
        super().__init__()
        number("low", low)
        number("high", high)
        if not low < high:
            raise ConfigError(f"low={low!r} must be below high={high!r}.")
        number("alpha", alpha, least=0, below=0.5)
        at_least("event_ndim", event_ndim, 1)
        self.low, self.high, self.alpha = float(low), float(high), float(alpha)
        self.event_ndim = event_ndim
        margin = (self.high - self.low) * self.alpha / (1 - 2 * self.alpha)
        self.codomain = constraints.interval(self.low - margin, self.high + margin)

    @property
    def _width(self) -> float:
        return (self.high - self.low) / (1 - 2 * self.alpha)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the point of the box and Σ log of the slope."""
        ok, inner = split_safe(z)
        # │z│ whose derivative at 0 is −1, not the 0 of abs: the slope of σ at 0 is ¼.
        size = torch.where(inner > 0, inner, -inner)
        # 1 − σ(−z) where z > 0: its derivative, unlike σ's own, does not round to 0 there. torch's sigmoid
        # has another rounding at the end of a batch than within it; exp and a division have not.
        small = torch.exp(-size)
        small = small / (1 + small)
        fraction = torch.where(inner > 0, 1 - small, small)
        fraction = torch.where(ok, fraction, z.detach().sigmoid())
        inside = math.log(self._width) - size - 2 * torch.log1p(torch.exp(-size))
        log_slope = torch.where(ok, inside, -z.detach().abs())
        fraction = _kept(fraction, *self._ends(z.dtype))
        return self.low + self._width * (fraction - self.alpha), sum_event(log_slope, self.event_ndim)

    def _ends(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return the smallest and the largest fraction whose point is inside the box after rounding."""
        info = torch.finfo(dtype)
        spacing = 2 * info.eps * (self.alpha + max(abs(self.low), abs(self.high)) / self._width)
        exact = self.low == 0 and self.alpha == 0  # numbers near the lower end are as fine as can be
        return max(info.tiny, 0.0 if exact else spacing), 1 - max(info.eps, spacing)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the logit and −Σ log of the slope."""
        # Distances from both ends, so that neither end loses digits to 1 − u.
        below = self.alpha + (x - self.low) / self._width
        above = self.alpha + (self.high - x) / self._width
        inside = (below > 0) & (above > 0)
        log_below = torch.where(inside, below, 1.0).log()
        log_above = torch.where(inside, above, 1.0).log()
        outside = torch.where(x.isnan(), x, torch.where(below > 0, torch.inf, -torch.inf)).detach()
        value = torch.where(inside, log_below - log_above, outside)
        log_slope = torch.where(inside, -math.log(self._width) - log_below - log_above, 0.0)
        return value, sum_event(log_slope, self.event_ndim)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes that the sigmoid and the logit round at."""
        edge = max(abs(self.low), abs(self.high))
        if not inverse:
            return value.abs() + edge
        slope = torch.log1p(value.abs().exp()) + value.abs()
        return 1 + value.abs() + (given.abs() + edge) / self._width * slope.exp()
