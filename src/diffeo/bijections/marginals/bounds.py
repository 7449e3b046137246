"""Columns with bounds: (low, high), (low, ∞) and (−∞, high), taken onto the line.

With y = (x − low) / scale,

    t = log(eʸ − 1)             above a lower bound: log y near it, y far above;
    t = −log(eʸ − 1)            below an upper bound, with y = (high − x) / scale;
    t = log y − log(1 − y)      between two, scale being their distance;
    t = (x − loc) / scale       without any.

A density that tends to a constant at a bound becomes an exponential tail, one that vanishes or rises there
as a power an exponential tail of another rate. A value outside has density 0: it goes to ±∞. A value at a
bound is taken as the nearest inside.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Bounds(NamedTuple):
    """Bounds, (columns,) each, ∓∞ where there is none, and the units in which columns are measured."""

    low: Tensor
    high: Tensor
    loc: Tensor
    scale: Tensor

    def to_line(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return t, log ∂t/∂x and where x is within the bounds; beyond them some number.

        Shapes: ``x`` (…, columns).
        """
        lower, upper = self.low.isfinite(), self.high.isfinite()
        two, one = lower & upper, lower ^ upper
        low, high = torch.where(lower, self.low, 0.0), torch.where(upper, self.high, 0.0)
        inside = ~(lower & ~(x >= self.low)) & ~(upper & ~(x <= self.high)) & ~x.isnan()
        calm = torch.where(
            inside & x.isfinite(), x, torch.where(lower, low + self.scale, high - self.scale)
        )
        calm = torch.where(lower | upper, calm, self.loc)
        # The nearest number inside is a rounding of the bound away.
        info = torch.finfo(x.dtype)
        above = (calm - low) / self.scale
        beneath = (high - calm) / self.scale
        least_above = (low.abs() * info.eps / self.scale).clamp(min=info.tiny)
        least_beneath = (high.abs() * info.eps / self.scale).clamp(min=info.tiny)
        above = _no_less(above, least_above)
        beneath = _no_less(beneath, least_beneath)
        y = torch.where(lower, above, beneath)
        y = torch.where(one, y, 1.0)
        log_grown = (-torch.expm1(-y)).log()
        bent = y + log_grown
        bent = torch.where(lower, bent, -bent)
        left, right = torch.where(two, above, 0.5).log(), torch.where(two, beneath, 0.5).log()
        log_scale = self.scale.log()
        straight = (torch.where(one | two, self.loc, x) - self.loc) / self.scale
        value = torch.where(two, left - right, torch.where(one, bent, straight))
        log_slope = torch.where(two, -left - right, torch.where(one, -log_grown, 0.0)) - log_scale
        return value, log_slope, inside

    def from_line(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and log ∂x/∂t."""
        lower, upper = self.low.isfinite(), self.high.isfinite()
        two, one = lower & upper, lower ^ upper
        low, high = torch.where(lower, self.low, 0.0), torch.where(upper, self.high, 0.0)
        bent_at = torch.where(one | two, t, 0.0)
        # Seen from the nearer bound; │t│ has slope 1 at 0, not the 0 of abs.
        up = torch.where(lower & ~upper, bent_at, -bent_at)
        size = torch.where(up > 0, up, -up)
        small = torch.exp(-size)
        softplus = torch.log1p(small) + torch.where(up > 0, up, 0.0)
        log_sigmoid = -torch.log1p(small) - torch.where(up > 0, 0.0, size)
        part = small / (1 + small)
        fraction_far = torch.where(up > 0, 1 - part, part)
        near_high = high - self.scale * fraction_far
        near_low = low + self.scale * torch.where(up > 0, part, 1 - part)
        between = torch.where(up > 0, near_low, near_high)
        bent = torch.where(lower, low + self.scale * softplus, high - self.scale * softplus)
        straight = torch.where(one | two, 0.0, t) * self.scale + self.loc
        value = torch.where(two, between, torch.where(one, bent, straight))
        log_two = -size - 2 * torch.log1p(small)
        log_slope = torch.where(two, log_two, torch.where(one, log_sigmoid, 0.0)) + self.scale.log()
        return value, log_slope


def _no_less(value: Tensor, least: Tensor) -> Tensor:
    """Return ``value``, or ``least`` where it is below, with the gradient that it had: not a flat one."""
    return torch.where(value > least, value, least + (value - value.detach()))
