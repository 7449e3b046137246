"""Charts: coarse monotone maps t ↦ v ∈ [0, 1] in which a density may be smooth.

A spline on equal intervals sees Cauchy's law as one peak and an empty line. So the density is estimated in
three coordinates, and that with the least AIC is taken:

- *straight*: v is t;
- *arcsinh*: v is asinh((t − median) / scale), logarithmic on both sides;
- *ranks*: v is a normal score, through a few quantiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.laws.knots import Knots, Piece
from diffeo.laws.rational_quadratic import bent, unbent

#: A coarse interval is at least this part of its neighbour: ties are no wall.
_LEAST_RATIO = 0.08
#: The most inner quantiles of "ranks".
_MOST_RANKS = 15


class Chart(NamedTuple):
    """A monotone map of [low, high] onto [0, 1], as knots of a rational-quadratic spline or an arcsinh.

    Attributes:
        low, high: the interval.
        knots: of "ranks", or None.
        middle, scale: of "arcsinh", or None.
        price: degrees of freedom that went into it.
    """

    low: float
    high: float
    knots: Knots | None = None
    middle: float | None = None
    scale: float = 1.0
    price: float = 0.0

    def to(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log dv/dt."""
        if self.knots is not None:
            return bent(t, piece_at(t, self.knots.xs, self.knots))
        if self.middle is not None:
            near = (t - self.middle) / self.scale
            ends = torch.tensor([self.low, self.high], dtype=t.dtype)
            start, end = torch.asinh((ends - self.middle) / self.scale)
            log_slope = -0.5 * torch.log1p(near**2) - (self.scale * (end - start)).log()
            return (torch.asinh(near) - start) / (end - start), log_slope
        width = torch.tensor(self.high - self.low, dtype=t.dtype)
        return (t - self.low) / width, (-width.log()).expand(t.shape)

    def back(self, v: Tensor) -> Tensor:
        """Return t."""
        if self.knots is not None:
            return unbent(v, piece_at(v, self.knots.ys, self.knots))[0]
        if self.middle is not None:
            ends = torch.tensor([self.low, self.high], dtype=v.dtype)
            start, end = torch.asinh((ends - self.middle) / self.scale)
            return self.middle + self.scale * torch.sinh(start + v * (end - start))
        return self.low + v * (self.high - self.low)


def charts(t: Tensor, low: float, high: float) -> Iterator[Chart]:
    """Yield the charts of the sorted values t, which lie in [low, high]."""
    yield Chart(low, high)
    quarter, middle, other = (float(quantile(t, q)) for q in (0.25, 0.5, 0.75))
    scale = (other - quarter) / 1.349
    if scale > 1e-9 * (high - low):
        yield Chart(low, high, middle=middle, scale=scale, price=1.0)
    ranks = min(_MOST_RANKS, int(t.shape[0] ** (1 / 3)))
    if ranks >= 2:
        yield _ranks(t, low, high, ranks)


def _ranks(t: Tensor, low: float, high: float, inner: int) -> Chart:
    n = t.shape[0]
    edge = NormalDist().inv_cdf(1 / (n + 1))
    v = torch.linspace(edge, -edge, inner + 2, dtype=torch.float64)
    share = 0.5 * torch.special.erfc(-v[1:-1] * 0.5**0.5)
    at = torch.stack([quantile(t, float(q)) for q in share])
    ends = torch.tensor([low, high], dtype=torch.float64)
    widths = torch.cat([ends[:1], at, ends[1:]]).diff()
    reach = torch.arange(len(widths))
    shrunk = _LEAST_RATIO ** (reach[:, None] - reach).abs().double()
    widths = (shrunk * widths).amax(-1)
    widths = widths / widths.sum() * (high - low)
    xs = torch.cat([ends[:1], low + widths.cumsum(0)[:-1], ends[1:]])
    ys = (v - v[0]) / (v[-1] - v[0])
    return Chart(low, high, knots=Knots(xs, ys, knot_slopes(xs, ys)), price=float(inner))


def knot_slopes(xs: Tensor, ys: Tensor) -> Tensor:
    """Return slopes at knots: the parabola's through three of them, kept near both mean slopes."""
    width, mean = xs.diff(), ys.diff() / xs.diff()
    inner = mean[:-1].log() * width[1:] + mean[1:].log() * width[:-1]
    inner = (inner / (width[1:] + width[:-1])).exp()
    first, last = mean[0] ** 1.5 / inner[0] ** 0.5, mean[-1] ** 1.5 / inner[-1] ** 0.5
    return torch.cat([first.reshape(1), inner, last.reshape(1)])


def quantile(ordered: Tensor, q: float) -> Tensor:
    """Return the quantile of sorted values, between two of them in proportion."""
    place = q * (ordered.shape[0] - 1)
    left = int(place)
    right = min(left + 1, ordered.shape[0] - 1)
    return torch.lerp(ordered[left], ordered[right], place - left)


def piece_at(value: Tensor, edges: Tensor, knots: Knots) -> Piece:
    """Return the bin of each value, for knots that stand in the last dimension, one list a row.

    Shapes: ``value`` (rows…, n) with ``edges`` (rows…, K + 1); rows… is empty or (columns,).
    """
    k = torch.searchsorted(edges[..., 1:-1].contiguous(), value.detach().contiguous(), right=True)

    def at(of: Tensor, index: Tensor) -> Tensor:
        return of.gather(-1, index)

    left, bottom = at(knots.xs, k), at(knots.ys, k)
    width, height = at(knots.xs.diff(), k), at(knots.ys.diff(), k)
    return Piece(left, bottom, width, height, at(knots.slopes, k), at(knots.slopes, k + 1))
