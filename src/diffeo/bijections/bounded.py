"""Maps onto boxes whose sides differ, and the map onto the support that a torch constraint states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from diffeo.bijections.chain import Identity
from diffeo.bijections.pointwise import Curve, Pointwise
from diffeo.errors import ConfigError, ShapeError, number
from diffeo.kernels.safe import split_safe
from diffeo.kernels.shapes import check_event
from diffeo.registry import register

Side = float | None


@register("bijections.Bounded")
class Bounded(Pointwise):
    """x within (lowᵢ, highᵢ) in feature i, each side a number or None for no bound.

    With both, x = low + (high − low) σ(z); with one, x = low + eᶻ or x = high − e⁻ᶻ; with none, x = z. From
    data to noise that is z = log(x − low) − log(high − x), a logarithm left out where there is no bound. A
    value on or beyond a bound has density zero: it is sent to ±∞. A draw that would round onto a bound is
    the nearest number inside.

    Source of the transforms: Kucukelbir, Tran, Ranganath, Gelman & Blei, *Automatic differentiation
    variational inference* (2017), section 2.3.

    Args:
        low, high: the bounds, one for each feature.

    Raises:
        ConfigError: the sides are not of one length, a bound is not finite, or low is not below high.

    >>> box = Bounded([0.0, None, 0.0], [None, None, 1.0])
    >>> box(torch.zeros(3))[0]
    tensor([1.0000, 0.0000, 0.5000])
    >>> box.inverse(torch.tensor([-1.0, 0.0, 0.5]))[0]
    tensor([-inf, 0., 0.])
    """

    def __init__(self, low: Sequence[Side], high: Sequence[Side]) -> None:
        super().__init__()
        for name, side in (("low", low), ("high", high)):
            if not isinstance(side, list | tuple) or not side:
                raise ConfigError(f"{name}={side!r:.60} must be a list of numbers or None, one a feature.")
            for k, bound in enumerate(side):
                number(f"{name}[{k}]", bound, optional=True)
        if len(low) != len(high):
            raise ConfigError(
                f"low has {len(low)} bounds, high has {len(high)}; expected one each a feature."
            )
        for k, (a, b) in enumerate(zip(low, high, strict=True)):
            if a is not None and b is not None and not a < b:
                raise ConfigError(f"low[{k}]={a!r} must be below high[{k}]={b!r}.")
        self.event_shape = torch.Size([len(low)])
        # As numbers, not as a buffer: a bound keeps its digits where the module goes to another precision.
        self._low = [-math.inf if a is None else float(a) for a in low]
        self._high = [math.inf if b is None else float(b) for b in high]
        self.codomain = Box(self._low, self._high)

    def curve(self, z: Tensor) -> Curve:
        """Return the point of the box, and log │dx/dz│."""
        check_event("z", z, self.event_shape)
        above, below, low, high, width = self._sides(z)
        far = z.detach()
        # Between two bounds: the distance from the nearer one, so that neither end loses digits.
        ok, inner = split_safe(z)
        # │z│ whose derivative at 0 is −1, not the 0 of abs: the slope of σ at 0 is ¼.
        size = torch.where(inner > 0, inner, -inner)
        fall = torch.exp(-size)
        share = width * fall / (1 + fall)
        boxed = torch.where(inner > 0, high - share, low + share)
        end = torch.where(far > 0, high, torch.where(far < 0, low, far))
        boxed, boxed_slope = torch.where(ok, boxed, end), width.log() - size - 2 * torch.log1p(fall)
        boxed_slope = torch.where(ok, boxed_slope, -far.abs())
        # From one bound: an exponential, without a gradient where it overflows.
        signed = torch.where(above, z, -z)
        fits = signed <= math.log(torch.finfo(z.dtype).max) - 1
        power = torch.where(fits, torch.where(fits, signed, 0.0).exp(), signed.detach().exp())
        single = torch.where(above, low + power, high - power)
        both, free = above & below, ~(above | below)
        value = torch.where(both, boxed, torch.where(free, z, single))
        slope = torch.where(both, boxed_slope, torch.where(free, 0.0, signed))
        return self._kept(value), slope

    def curve_back(self, x: Tensor) -> Curve:
        """Return log(x − low) − log(high − x), and log │dz/dx│."""
        check_event("x", x, self.event_shape)
        above, below, low, high, width = self._sides(x)
        over, under = x - low, high - x
        inside = (~above | (over > 0)) & (~below | (under > 0)) & (x.abs() < torch.inf)
        log_over = torch.where(inside & above, over, 1.0).log()
        log_under = torch.where(inside & below, under, 1.0).log()
        fixed = x.detach()
        outside = torch.where((below & (under <= 0)) | (fixed == torch.inf), torch.inf, -torch.inf)
        outside = torch.where(fixed.isnan(), fixed, outside)
        value = torch.where(above | below, log_over - log_under, torch.where(inside, x, 0.0))
        slope = torch.where(above & below, width.log(), 0.0) - log_over - log_under
        return torch.where(inside, value, outside), torch.where(inside, slope, 0.0)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes that distances from the bounds round at."""
        above, below, low, high, _ = self._sides(given)
        edge = torch.maximum(low.abs(), high.abs())
        if not inverse:
            return edge + value.abs() * (1 + given.abs())
        tiny = torch.finfo(given.dtype).tiny
        near = torch.where(above, 1 / (given - low).abs().clamp(min=tiny), 0.0)
        near = near + torch.where(below, 1 / (high - given).abs().clamp(min=tiny), 0.0)
        return 1 + value.abs() + edge * near

    def _sides(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return where there are bounds below and above, them (else 0), and their distance (else 1)."""
        low, high = like.new_tensor(self._low), like.new_tensor(self._high)
        above, below = low.isfinite(), high.isfinite()
        width = torch.where(above & below, high - low, 1.0)
        return above, below, torch.where(above, low, 0.0), torch.where(below, high, 0.0), width

    def _kept(self, value: Tensor) -> Tensor:
        """Return ``value`` strictly inside, with the gradient that it had (a NaN stays)."""
        above, below, low, high, _ = self._sides(value)
        fixed, tiny = value.detach(), torch.finfo(value.dtype).tiny
        # Beside 0 the smallest normal number: others may be flushed to 0.
        first = torch.where(low == 0, tiny, torch.nextafter(low, torch.full_like(low, torch.inf)))
        last = torch.where(high == 0, -tiny, torch.nextafter(high, torch.full_like(high, -torch.inf)))
        kept = torch.where(above & (fixed <= low), first, fixed)
        kept = torch.where(below & (fixed >= high), last, kept)
        return torch.where(kept == fixed, value, kept + (value - fixed))


class Box(constraints.Constraint):
    """The open set low < x < high, sides without a bound infinite, on any device."""

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        self._low, self._high = tuple(low), tuple(high)
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return where a value is inside."""
        low, high = value.new_tensor(self._low), value.new_tensor(self._high)
        # Overflow where there is no bound is no step out of the set.
        inside = (value > low) | (low == -torch.inf)
        return inside & ((value < high) | (high == torch.inf)) & ~value.isnan()


def onto(support: Any, features: int) -> Bounded | Identity:
    """Return the bijection from ℝᴰ onto the support that a torch constraint states.

    Args:
        support: a constraint of ``torch.distributions.constraints`` for every feature alike, or a list with
            one for each: ``real``, ``positive``, ``greater_than``, ``less_than``, ``interval``,
            ``unit_interval`` and their closed forms, also with bounds that are tensors of D numbers;
            ``independent``, ``cat`` and ``stack`` of these; ``real_vector``.
        features: D.

    Raises:
        ConfigError: the constraint is no box, as ``simplex``.
        ShapeError: there are not as many bounds as features.

    >>> onto(constraints.positive, 2)
    Bounded(low=[0.0, 0.0], high=[None, None])
    >>> onto([constraints.real, constraints.unit_interval], 2)
    Bounded(low=[None, 0.0], high=[None, 1.0])
    """
    pairs = _sides(support, features)
    if len(pairs) != features:
        raise ShapeError(
            f"support has bounds for {len(pairs)} feature(s); expected {features}, as the flow has: pass "
            "one constraint for all, or a list with one for each."
        )
    if all(pair == (None, None) for pair in pairs):
        return Identity()
    return Bounded([low for low, _ in pairs], [high for _, high in pairs])


def _sides(support: Any, features: int) -> list[tuple[Side, Side]]:
    """Return (low, high) of each feature."""
    if isinstance(support, list | tuple):
        return [pair for one in support for pair in _sides(one, 1)]
    base = getattr(support, "base_constraint", None)
    if base is not None:
        return _sides(base, features)
    parts = getattr(support, "cseq", None)
    if parts is not None:
        lengths: list[int] = list(getattr(support, "lengths", None) or [1] * len(parts))
        return [p for part, n in zip(parts, lengths, strict=True) for p in _sides(part, int(n))]
    bounds = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    discrete = bool(getattr(support, "is_discrete", False))
    if discrete or (bounds == (None, None) and str(support) != str(constraints.real)):
        raise ConfigError(
            f"support={support!s:.60} is no box of real numbers; expected constraints such as positive or "
            "interval(0, 1), or a list with one for each feature. Write log_density in coordinates that "
            "have such a support, with the logarithm of the Jacobian added."
        )
    columns = [_numbers(bound, features) for bound in bounds]
    return list(zip(*columns, strict=True))


def _numbers(bound: Any, features: int) -> list[Side]:
    """Return a bound of each feature, None where it is infinite."""
    given: list[Any] = [None] if bound is None else torch.as_tensor(bound).reshape(-1).tolist()
    if len(given) == 1:
        given = given * features
    if len(given) != features:
        raise ShapeError(
            f"support has a bound of {len(given)} numbers for {features} feature(s); expected one, or "
            "as many."
        )
    return [None if b is None or not math.isfinite(b) else float(b) for b in given]
