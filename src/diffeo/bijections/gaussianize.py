"""Gaussianisation of each column by itself: heavy tails, skew, bounds and scale cost no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.marginals import Bounds, beyond, beyond_back, fit_marginal, piece_at
from diffeo.bijections.statistics import location_and_scale
from diffeo.errors import ConfigError, DataError, at_least, number
from diffeo.kernels.safe import safe_limit
from diffeo.kernels.shapes import check_event
from diffeo.kernels.tiles import in_tiles
from diffeo.laws.knots import Formula, Knots
from diffeo.laws.rational_quadratic import bent, unbent
from diffeo.registry import register

#: The most rows that a column's density is read off; tails and all, more add little.
_MOST_ROWS = 200_000
#: The largest shapes ξ of a tail, and of one towards a bound.
_HEAVIEST, _AT_BOUND = 1.5, 0.1
#: Rows that are passed at a time where no gradient is asked for.
_PART = 8192


@register("bijections.Gaussianize")
class Gaussianize(Bijection):
    """u_j = Φ⁻¹(F_j(x_j)): a monotone map of each column onto the standard normal, fitted to training rows.

    F_j is a one-dimensional density estimate (:func:`~diffeo.bijections.marginals.fit_marginal`): a
    penalised log-density where data are dense, read off as a rational-quadratic spline, and tails that fall
    like a normal or like a power, as the outer values of each side have it. Both directions are closed
    formulas. As the last bijection of a chain it leaves to the others what columns have to do with each
    other; alone, on a standard normal base, it is a density in which columns are independent.

    A column with a bound is taken onto the line first (:class:`~diffeo.bijections.marginals.Bounds`): a
    value outside has density 0. A constant column is only shifted. NaN are left out column by column.
    Before :meth:`initialise` the map is the identity on the line (a logit where there are two bounds).

    Source: Chen & Gopinath, *Gaussianization* (2000), section 3, for the map.

    Args:
        features: the number of columns.
        knots: intervals of each column's spline.
        low: for each column a lower bound or None; None: no column has one.
        high: likewise, upper bounds.

    Raises:
        ConfigError: a bound is not finite, or a lower one is not below the upper one.

    >>> x = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0)).exp()
    >>> u, log_det = Gaussianize(1, low=[0.0]).initialise(x).inverse(x)
    >>> print(f"{u.mean():.1f}, {u.std():.1f}")
    0.0, 1.0
    """

    def __init__(
        self,
        features: int,
        knots: int = 32,
        low: Sequence[float | None] | None = None,
        high: Sequence[float | None] | None = None,
    ) -> None:
        super().__init__()
        at_least("features", features, 1)
        at_least("knots", knots, 4)
        self.features, self.knots = features, knots
        self.event_shape = torch.Size([features])
        lower = _bounds("low", low, features, -torch.inf)
        upper = _bounds("high", high, features, torch.inf)
        for column, (a, b) in enumerate(zip(lower, upper, strict=True)):
            if not a < b:
                raise ConfigError(f"low[{column}]={a!r} must be below high[{column}]={b!r}.")
        self._bounded = any(a > -torch.inf for a in lower) or any(b < torch.inf for b in upper)
        two = [
            b - a if a > -torch.inf and b < torch.inf else 1.0 for a, b in zip(lower, upper, strict=True)
        ]
        self.register_buffer("low", torch.tensor(lower))
        self.register_buffer("high", torch.tensor(upper))
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("scale", torch.tensor(two))
        line = torch.linspace(-2.0, 2.0, knots + 1).repeat(features, 1)
        self.register_buffer("xs", line)
        self.register_buffer("ys", line.clone())
        self.register_buffer("slopes", torch.ones_like(line))
        # ξ of the lower and of the upper tail; −1: normal.
        self.register_buffer("shapes", torch.full((features, 2), -1.0))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Fit each column to its finite values within the bounds, unless that was done before.

        Cost: about 0.05 s a column.

        Raises:
            DataError: a column has no such value.
        """
        if bool(self.get_buffer("initialised")):
            return self
        check_event("x", x, self.event_shape)
        rows = x.detach().reshape(-1, self.features)
        if rows.shape[0] > _MOST_ROWS:
            chance = torch.Generator().manual_seed(0)
            some = torch.randperm(rows.shape[0], generator=chance)[:_MOST_ROWS]
            rows = rows[some.to(rows.device)]
        rows = rows.cpu().double()
        for column in range(self.features):
            self._fit(column, rows[:, column])
        self.get_buffer("initialised").fill_(True)
        return self

    def _fit(self, column: int, values: Tensor) -> None:
        low, high = (float(self.get_buffer(name)[column]) for name in ("low", "high"))
        values = values[values.isfinite() & (values >= low) & (values <= high)].sort().values
        if not values.shape[0]:
            raise DataError(
                f"column {column} of x has no finite value from {low:g} to {high:g}; Gaussianize needs at "
                "least one to be initialised from: pass rows that have it, or leave the column out."
            )
        # Values at a bound itself are infinitely far on the line: they say nothing of how it is approached.
        within = values[(values > low) & (values < high)]
        values = within if within.shape[0] else values
        loc, scale = _units(values, low, high)
        # Rounded as they are kept: the knots are then right for the numbers that the passes use.
        kept = self.get_buffer("scale")
        info = torch.finfo(kept.dtype)
        self.get_buffer("loc")[column] = loc
        kept[column] = min(max(scale, info.tiny), info.max)
        bounds = [self.get_buffer(name)[column : column + 1].cpu().double() for name in _UNITS]
        t, _, _ = Bounds(*bounds).to_line(values.unsqueeze(-1))
        # A bound is infinitely far on the line, and approached by logarithms: no tail is heavy there.
        heaviest = (
            _AT_BOUND if low > -torch.inf else _HEAVIEST,
            _AT_BOUND if high < torch.inf else _HEAVIEST,
        )
        for name, found in fit_marginal(t.squeeze(-1), self.knots, heaviest)._asdict().items():
            self.get_buffer(name)[column] = found

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and Σ log ∂x/∂u."""
        check_event("z", z, self.event_shape)
        value, log_slope = _in_parts(self._back, z)
        return value, log_slope.sum(-1)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return u and Σ log ∂u/∂x."""
        check_event("x", x, self.event_shape)
        value, log_slope = self.elementwise(x)
        return value, log_slope.sum(-1)

    def elementwise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂x, element by element; ±∞ and 0 for an element out of bounds."""
        return _in_parts(self._there, x)

    def _there(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t, log_unit, outside = self._to_line(x)
        ok, calm = _within(t)
        lowest, highest = self.get_buffer("xs")[:, 0], self.get_buffer("xs")[:, -1]
        near = torch.where(calm > lowest, calm, lowest)
        near = torch.where(near < highest, near, highest)
        value, log_slope = _by_column(near, self._knots(), self._knots().xs, bent)
        for side, edge in ((0, lowest), (1, highest)):
            away = calm - edge if side else edge - calm
            out = away > 0
            end, slope, shape = self._end(side)
            size, log_far = beyond(torch.where(out, away, 0.0), end, slope, shape)
            value = torch.where(out, size if side else -size, value)
            log_slope = torch.where(out, log_far, log_slope)
        value = torch.where(ok, value, _on(value, log_slope, t, calm))
        value = value if outside is None else torch.where(outside.isnan(), value, outside)
        log_slope = log_slope + log_unit
        return value, log_slope if outside is None else torch.where(outside.isnan(), log_slope, 0.0)

    def elementwise_back(self, u: Tensor) -> Tensor:
        """Return x, element by element."""
        return _in_parts(self._back, u)[0]

    def _back(self, u: Tensor) -> tuple[Tensor, Tensor]:
        ok, calm = _within(u)
        lowest, highest = self.get_buffer("ys")[:, 0], self.get_buffer("ys")[:, -1]
        near = torch.where(calm > lowest, calm, lowest)
        near = torch.where(near < highest, near, highest)
        value, log_slope = _by_column(near, self._knots(), self._knots().ys, unbent)
        for side in (0, 1):
            end, slope, shape = self._end(side)
            size = calm if side else -calm
            out = size > end
            away, log_far = beyond_back(torch.where(out, size, end), end, slope, shape)
            edge = self.get_buffer("xs")[:, -side]
            value = torch.where(out, edge + away if side else edge - away, value)
            log_slope = torch.where(out, log_far, log_slope)
        value = torch.where(ok, value, _on(value, log_slope, u, calm))
        if not self._bounded:
            unit = self.get_buffer("scale")
            return value * unit + self.get_buffer("loc"), log_slope + unit.log()
        x, log_unit = self._units().from_line(value)
        return x, log_slope + log_unit

    def _to_line(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return t, log ∂t/∂x, and where x is out of bounds ±∞, elsewhere NaN; None without bounds."""
        if not self._bounded:
            unit = self.get_buffer("scale")
            return (x - self.get_buffer("loc")) / unit, -unit.log(), None
        t, log_unit, inside = self._units().to_line(x)
        low, fixed = self.get_buffer("low"), x.detach()
        outside = torch.where(fixed < low, -torch.inf, torch.inf)
        # ∞ on a side without a bound is no number on the line either.
        t = torch.where(fixed.isnan() | (fixed.isinf() & inside), fixed, t)
        return t, log_unit, torch.where(inside | fixed.isnan(), torch.nan, outside)

    def _units(self) -> Bounds:
        return Bounds(*(self.get_buffer(name) for name in _UNITS))

    def _knots(self) -> Knots:
        return Knots(self.get_buffer("xs"), self.get_buffer("ys"), self.get_buffer("slopes"))

    def _end(self, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return │u│, the slope and ξ at the outer knot of a side."""
        return (
            self.get_buffer("ys")[:, -side].abs(),
            self.get_buffer("slopes")[:, -side],
            self.get_buffer("shapes")[:, side],
        )

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the sizes of the numbers that are rounded on the way to the line and back."""
        loc, unit = self.get_buffer("loc").abs(), self.get_buffer("scale")
        x, u = (given, value) if inverse else (value, given)
        if not inverse:
            return x.abs() + loc + unit
        _, log_slope = self.elementwise(x)
        return 1 + u.abs() + (x.abs() + loc) * log_slope.exp()


_UNITS = ("low", "high", "loc", "scale")


def _bounds(name: str, given: Sequence[float | None] | None, features: int, none: float) -> list[float]:
    if given is None:
        return [none] * features
    if isinstance(given, str) or len(given) != features:
        raise ConfigError(
            f"{name}={given!r:.100} must have one entry, a number or None, for each of {features} columns."
        )
    for column, bound in enumerate(given):
        number(f"{name}[{column}]", bound, optional=True)
    return [none if bound is None else float(bound) for bound in given]


def _units(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """Return the location and the scale that a column is measured in."""
    if low > -torch.inf and high < torch.inf:
        return low, high - low
    if low > -torch.inf or high < torch.inf:
        away = values - low if low > -torch.inf else high - values
        middle = float(away.median())
        middle = middle if middle > 0 else float(away.max())
        return (low if low > -torch.inf else high), (middle if middle > 0 else 1.0)
    loc, scale = location_and_scale(values.unsqueeze(-1), "robust")
    return float(loc), float(scale)


def _within(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return where ``value`` is within the safe limit, and the nearest such number (0 for NaN)."""
    limit = safe_limit(value.dtype)
    ok = value.abs() <= limit  # False for NaN
    return ok, torch.where(ok, value, torch.nan_to_num(value.detach(), nan=0.0).clamp(-limit, limit))


def _on(moved: Tensor, log_slope: Tensor, value: Tensor, calm: Tensor) -> Tensor:
    """Return where ``value`` goes, straight on from ``calm``; without gradients."""
    return (moved + log_slope.exp() * (value - calm)).detach()


def _in_parts(passed: Callable[[Tensor], tuple[Tensor, Tensor]], value: Tensor) -> tuple[Tensor, Tensor]:
    """Return what ``passed`` makes of rows, in whole tiles: a row's bits do not depend on its batch.

    Without gradients some thousands at a time: what is between stays in the cache.
    """

    def both(rows: Tensor, context: Tensor | None) -> Tensor:
        return torch.stack(passed(rows), -1)

    rows = value.shape[:-1].numel()
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or rows <= _PART:
        found = in_tiles(both, value)
    else:
        flat = value.reshape(rows, value.shape[-1])
        found = torch.cat([in_tiles(both, part) for part in flat.split(_PART)])
        found = found.reshape(*value.shape, 2)
    moved, log_slope = found.unbind(-1)
    return moved, log_slope


def _by_column(value: Tensor, knots: Knots, edges: Tensor, formula: Formula) -> tuple[Tensor, Tensor]:
    """Return ``formula`` in the bin of each value; values are searched a column at a time."""
    flat = value.reshape(-1, value.shape[-1]).T
    moved, log_slope = formula(flat, piece_at(flat, edges, knots))
    return moved.T.reshape(value.shape), log_slope.T.reshape(value.shape)
