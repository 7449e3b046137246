"""A column's density, as knots of a monotone map onto the standard normal.

1. All but the outermost √n/4 values of each side are the body. Its density is a penalised log-density
   (:mod:`~diffeo.bijections.marginals.penalised`) in the best of three charts
   (:mod:`~diffeo.bijections.marginals.charts`); each side's mass is known, it is a count.
2. What lies beyond is a tail. Where the body ends, whether the tail is normal as far as data reach, and how
   heavy it is beyond, is what gives the values on that side the highest likelihood
   (:mod:`~diffeo.bijections.marginals.ends`).
3. u = Φ⁻¹(F(t)) and its slope are read off at K + 1 knots. Between them a rational-quadratic spline runs:
   density, mass and inverse of the map are then closed forms, whatever it was fitted with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.marginals.body import Body, fit_body
from diffeo.bijections.marginals.ends import End, fit_end
from diffeo.bijections.marginals.tail import NORMAL

#: Fewer values than this are described by a location and a scale.
_FEW = 8
#: A slope at a knot is at most this many times the mean slopes beside it.
_STEEPEST = 8.0
#: The least distance of two knots, beside their own size.
_NARROWEST = 1e-5


class Marginal(NamedTuple):
    """The knots of u(t), (K + 1) each, and the shapes of the lower and of the upper tail, (2)."""

    xs: Tensor
    ys: Tensor
    slopes: Tensor
    shapes: Tensor


def fit_marginal(t: Tensor, knots: int, heaviest: tuple[float, float] = (1.5, 1.5)) -> Marginal:
    """Return the map of a column whose sorted values are t: float64, finite, in units near 1.

    ``heaviest`` is the largest ξ of the lower and of the upper tail.

    >>> t = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).sort().values
    >>> marginal = fit_marginal(t, 16)
    >>> marginal.xs.shape, bool((marginal.xs.diff() > 0).all())
    (torch.Size([17]), True)
    """
    if t.shape[0] < _FEW or bool(t[0] == t[-1]):
        return _straight(t, knots, heaviest)
    body = fit_body(t, knots)
    low = fit_end(t, body, upper=False, heaviest=heaviest[0])
    high = fit_end(t, body, upper=True, heaviest=heaviest[1])
    return _at_knots(body, low, high, knots)


def _straight(t: Tensor, knots: int, heaviest: tuple[float, float]) -> Marginal:
    """Return a normal law's map, with tails as n rows know its variance; the identity for a constant."""
    n = t.shape[0]
    ys = torch.linspace(-2, 2, knots + 1, dtype=torch.float64)
    spread = float(t.std()) if n > 1 else 0.0
    middle = float(t.mean()) if n else 0.0
    known = spread > 0
    scale = spread * math.sqrt((n + 1) / n) if known else 1.0
    shapes = [min(1 / (n - 1), most) if known else NORMAL for most in heaviest]
    slopes = torch.full_like(ys, 1 / scale)
    return Marginal(middle + scale * ys, ys, slopes, torch.tensor(shapes, dtype=torch.float64))


def _at_knots(body: Body, low: End, high: End, knots: int) -> Marginal:
    outer = len(low.outer) + len(high.outer)
    cells = torch.linspace(low.cell, high.cell, knots + 1 - outer, dtype=torch.float64).round().long()
    xs, ys, log_slopes = body.at(cells)
    slopes = log_slopes.exp()
    # Ties can make intervals so narrow, or so flat, that float32 has no number in them.
    xs, ys = _apart(xs, 0.0), _apart(ys, 1.0)
    mean = ys.diff() / xs.diff()
    least, most = torch.minimum(mean[1:], mean[:-1]), torch.maximum(mean[1:], mean[:-1])
    least = torch.cat([mean[:1], least, mean[-1:]]) / _STEEPEST
    most = torch.cat([mean[:1], most, mean[-1:]]) * _STEEPEST
    slopes = torch.minimum(torch.maximum(slopes, least), most)
    for end, first in ((low, True), (high, False)):
        k = 0 if first else -1
        for u in end.outer:  # straight on: one more knot
            t = xs[k] + (u - ys[k]) / slopes[k]
            xs, ys, slopes = (_joined(a, b, first) for a, b in ((xs, t), (ys, u), (slopes, slopes[k])))
    return Marginal(xs, ys, slopes, torch.tensor([low.shape, high.shape], dtype=torch.float64))


def _apart(edges: Tensor, size: float) -> Tensor:
    """Return increasing numbers at least a little apart, beside their own size or ``size``."""
    narrowest = _NARROWEST * torch.maximum(edges[1:].abs(), edges[:-1].abs()).clamp(min=size)
    return torch.cat([edges[:1], edges[0] + torch.maximum(edges.diff(), narrowest).cumsum(0)])


def _joined(row: Tensor, value: Tensor | float, first: bool) -> Tensor:
    one = torch.as_tensor(value, dtype=row.dtype).reshape(1)
    return torch.cat([one, row] if first else [row, one])
