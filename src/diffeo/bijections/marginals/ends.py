"""Where a body ends and what lies beyond: chosen by the likelihood of the outer values.

On each side there are, for three places at which the tail may begin, these candidates:

- a power tail of one of several weights ξ from there on;
- a normal tail as far as P = 1/(4n), somewhat beyond the data, and a light power tail after that: a
  value to come is far from the data at times, and costs the logarithm of its distance then, not the square.

Few values decide little: the likelihood is penalised by ½ ξ², and by ½ (log(δ / δ̄) / 0.7)² where the slope
δ that the tail starts with is above the mean slope δ̄ of the body (a few values that lie close together
would make a thin tail). ξ is a mean over its likely values: a tail read as too heavy costs
little, one read as too light a lot.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.marginals.body import CELLS, Body
from diffeo.bijections.marginals.tail import beyond

#: The shapes ξ of tails that are tried.
_SHAPES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5)
#: ξ beyond the reach of data whose tail is normal as far as it is known.
_UNKNOWN = 0.4
#: Widths of the two penalties.
_SHAPE_WIDTH, _STEEP_WIDTH = 1.0, 0.7
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class End(NamedTuple):
    """One side of a marginal.

    Attributes:
        cell: the step of the body at which it ends.
        outer: values of u to which the map goes straight on from there; one, or none.
        shape: ξ of the tail after that.
    """

    cell: int
    outer: tuple[float, ...]
    shape: float


def fit_end(t: Tensor, body: Body, *, upper: bool, heaviest: float = math.inf) -> End:
    """Return the end of the body that the outer values like best."""
    n = t.shape[0]
    share = min(0.2, max(1.5 * math.sqrt(n), 5) / n)
    below = body.below if upper else 1 - body.below
    inside = int((below < 1 - share).sum()) if upper else CELLS - int((below < 1 - share).sum())
    # Between the middle of the body and its edge.
    median = int((body.below < 0.5).sum())
    inside = max(inside, min(median + 1, CELLS)) if upper else min(inside, max(median - 1, 0))
    edge = CELLS if upper else 0
    places = (0, CELLS, inside, (inside + edge) // 2, edge)
    ts, us, log_slopes = (found.tolist() for found in body.at(torch.tensor(places)))
    start = ts[2]
    values = t[t > start] if upper else t[t < start]
    far = -NormalDist().inv_cdf(0.25 / n)
    shapes = torch.tensor([shape for shape in _SHAPES if shape <= heaviest], dtype=torch.float64)
    unknown = min(_UNKNOWN, heaviest)
    usual = (us[1] - us[0]) / (ts[1] - ts[0])
    best, found = -math.inf, End(edge, (), unknown)
    tails = {cell: (ts[k], us[k], log_slopes[k]) for k, cell in enumerate(places) if k >= 2}
    for cell, (at, u, log_slope) in tails.items():
        size = u if upper else -u
        if size < 0.05:
            continue
        away = (values - at) * (1 if upper else -1)
        within = body.log_prob(values.clamp(min(start, at), max(start, at)))
        outer = far if far > size else 0.0
        slope = math.exp(log_slope)
        prior = -0.5 * (max(0.0, math.log(slope / usual)) / _STEEP_WIDTH) ** 2
        log_p = _log_normal_tail(away.clamp(min=0), size, slope, outer, unknown)
        score = float(torch.where(away < 0, within, log_p).sum()) + prior
        if score > best:
            best, found = score, End(cell, (outer if upper else -outer,) if outer else (), unknown)
        log_p = _log_power_tail(away.clamp(min=0), size, slope, shapes.unsqueeze(-1))
        scores = torch.where(away < 0, within, log_p).sum(-1) - 0.5 * (shapes / _SHAPE_WIDTH) ** 2 + prior
        if float(scores.max()) > best:
            best, found = float(scores.max()), End(cell, (), float(scores.softmax(0) @ shapes))
    return found


def _log_power_tail(away: Tensor, size: float, slope: float, shape: Tensor) -> Tensor:
    """Return the log-density at a distance from where the tail begins."""
    number = away.new_tensor
    u, log_slope = beyond(away, number(size), number(slope), shape)
    return log_slope - 0.5 * u * u - _LOG_ROOT_2PI


def _log_normal_tail(away: Tensor, size: float, slope: float, outer: float, shape: float) -> Tensor:
    """Return the log-density of a map that goes straight to u = ``outer``, and lightly on from there."""
    knot = max(outer - size, 0.0) / slope
    u = size + slope * away
    straight = math.log(slope) - 0.5 * u * u - _LOG_ROOT_2PI
    lightly = _log_power_tail((away - knot).clamp(min=0), max(outer, size), slope, away.new_tensor(shape))
    return torch.where(away < knot, straight, lightly)
