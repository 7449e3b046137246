"""Bijections of the circle and, feature by feature, of the torus.

An angle is a number in [−π, π]; both ends are the same point. ``circles`` says so, and checks then measure
along the circle: that a rotation takes an angle from just below π to just above −π is no jump.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from diffeo.bijections.bijection import Bijection
from diffeo.conditioners import Conditioner
from diffeo.errors import ConfigError, a_part, at_least, number
from diffeo.kernels.circle import carried, point_of, wrap
from diffeo.kernels.safe import split_safe
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context
from diffeo.kernels.tiles import in_tiles
from diffeo.registry import register


@register("bijections.CircularShift")
class CircularShift(Bijection):
    """x = z + φ on the circle [−bound, bound], feature by feature: a rotation of each; log │det J│ = 0.

    φ is learnable, or φ = m(c). An angle n turns away from [−bound, bound] is rotated within its turn: the
    map is a bijection of ℝ too, and what lies outside the circle stays outside, where bases of circles have
    density zero. Between two layers of :class:`~diffeo.laws.CircularSpline`, which keep ±bound where it is,
    it lets every point move.

    Source: Rezende et al., *Normalizing flows on tori and spheres* (2020), section 2.1 (phase translation).

    Args:
        features: the number of features D.
        start: the φ to start from, added to what is learnt.
        bound: half the length of the circle: π for angles in radians.
        conditioner: m, with ``in_features=0``, ``out_features=D`` and ``n_params=1``; without it φ is a
            parameter.

    Raises:
        ConfigError: an argument is out of range, or the conditioner's sizes do not fit.

    >>> x, log_det = CircularShift(1, start=math.pi / 2)(torch.tensor([[0.0], [3.0]]))
    >>> x, log_det
    (tensor([[ 1.5708],
            [-1.7124]], grad_fn=...), tensor([0., 0.]))
    """

    def __init__(
        self,
        features: int,
        *,
        start: float = 0.0,
        bound: float = math.pi,
        conditioner: Conditioner | None = None,
    ) -> None:
        super().__init__()
        at_least("features", features, 1)
        number("start", start)
        number("bound", bound, above=0)
        self.start, self.bound = float(start), float(bound)
        self.event_shape = torch.Size([features])
        self.circles = (2 * self.bound, 2 * self.bound)
        self.conditioner = self.phase = None
        if conditioner is None:
            self.phase = nn.Parameter(torch.zeros(features))
            return
        a_part("conditioner", conditioner, Conditioner, "diffeo.conditioners.MLP(0, 2, n_params=1)")
        sizes = (conditioner.in_features, conditioner.out_features, conditioner.n_params)
        if sizes != (0, features, 1):
            raise ConfigError(
                f"conditioner has (in_features, out_features, n_params)={sizes}; expected "
                f"{(0, features, 1)}: φ is one number for each feature, made of the context alone."
            )
        self.conditioner = conditioner

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z + φ on the circle, and 0."""
        return self._turned(z, context, 1.0)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x − φ on the circle, and 0."""
        return self._turned(x, context, -1.0)

    def _turned(self, value: Tensor, context: Tensor | None, sign: float) -> tuple[Tensor, Tensor]:
        check_event("value", value, self.event_shape)
        mark = None
        if self.conditioner is not None:
            value, context = join_batch(value, context_read(context, self.conditioner.context), 1)
            context, mark = safe_context(context)
        # A φ of many turns would cost the angle its digits.
        phase = wrap(self._phase(value, context).to(value.dtype) + self.start, self.bound)
        point = point_of(value, self.bound)
        moved = carried(value, point, wrap(point + sign * phase, self.bound), self.bound)
        log_det = value.new_zeros(value.shape[:-1])
        return (moved, log_det) if mark is None else (moved + mark.unsqueeze(-1), log_det + mark)

    def _phase(self, value: Tensor, context: Tensor | None) -> Tensor:
        if self.conditioner is None:
            assert self.phase is not None
            return self.phase
        none = value[..., :0]
        if self.conditioner.training:
            return self.conditioner(none, context).squeeze(-1)
        return in_tiles(self.conditioner, none, context).squeeze(-1)


@register("bijections.Wrap")
class Wrap(Bijection):
    """x = low + (z + π) (high − low) / 2π: angles z in [−π, π) in the data's own unit, x in [low, high).

    As a bijection it maps circle to circle and does no more than change the unit; in radians,
    ``Wrap()``, it is the identity, and log │det J│ = D log((high − low) / 2π) is 0. Beside that it reads
    raw angles: both directions take any number, and mean the point of the circle that it stands for. So
    370 degrees are 10 degrees, and have their density, which integrates to one over one turn: it is a
    density on the circle, not on the line. An infinite angle is no angle, and becomes NaN. It stands
    last in a flow, next to the data.

    Args:
        low, high: the circle in the data's unit, as (0, 360) for degrees or (0, 24) for hours of the day.
        event_ndim: event dimensions.

    >>> degrees = Wrap(low=0.0, high=360.0)
    >>> z, log_det = degrees.inverse(torch.tensor([190.0, 550.0, -90.0]))
    >>> z
    tensor([0.1745, 0.1745, 1.5708])
    >>> degrees(z)[0]
    tensor([190., 190., 270.])
    """

    def __init__(self, low: float = -math.pi, high: float = math.pi, event_ndim: int = 1) -> None:
        super().__init__()
        number("low", low)
        number("high", high)
        if not low < high:
            raise ConfigError(f"low={low!r} must be below high={high!r}.")
        at_least("event_ndim", event_ndim, 1)
        self.low, self.high, self.event_ndim = float(low), float(high), event_ndim
        self.middle, self.unit = (self.low + self.high) / 2, (self.high - self.low) / (2 * math.pi)
        self.circles = (2 * math.pi, self.high - self.low)
        self.codomain = constraints.interval(self.low, self.high)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the angle in the data's unit, in [low, high], and D log((high − low) / 2π)."""
        x = self.middle + self.unit * _angle(z)
        fixed = x.detach()
        return x + (fixed.clamp(self.low, self.high) - fixed), self._log_det(z)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the angle in [−π, π] that ``x`` stands for, and −D log((high − low) / 2π)."""
        return _angle((x - self.middle) / self.unit), -self._log_det(x)

    def _log_det(self, value: Tensor) -> Tensor:
        cut = value.ndim - self.event_ndim
        return value.new_full(value.shape[:cut], value.shape[cut:].numel() * math.log(self.unit))

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes of the numbers that turns are taken off."""
        edge = max(abs(self.low), abs(self.high))
        if inverse:
            return (given.abs() + edge) / self.unit
        return self.unit * given.abs() + edge


def _angle(x: Tensor) -> Tensor:
    """Return the point of the circle that x stands for; NaN for what is no number."""
    ok, _ = split_safe(x)
    return torch.where(ok, point_of(x, math.pi), torch.nan)
