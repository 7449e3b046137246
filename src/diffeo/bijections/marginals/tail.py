"""Tails of any weight, in closed form both ways.

At a distance a beyond the outer knot, where u has reached ±e with slope δ,

    u = ±√(e² + 2 L),   L = log(1 + ξ y) / ξ,   y = e δ a.

φ(u) du/dt is then the generalised Pareto density of shape ξ times the slowly varying e / u: a tail that
falls as the power 1/ξ, up to a root of a logarithm; an exponential one as ξ → 0. Its mass is Φ(−│u│), and
the slope at the knot is δ. The generalised Pareto law itself would need Φ⁻¹ for its map; this one needs a
root and a logarithm, in float32 too, at any distance.

ξ = −1 stands for u = ±(e + δ a): a normal tail.

Source: Pickands, *Statistical inference using extreme order statistics* (1975), for what lies beyond a
threshold.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: ξ y beyond which a tail goes on straight, so that nothing overflows.
_REACH = math.log(1e15)
#: ξ of a normal tail.
NORMAL = -1.0


def beyond(away: Tensor, edge: Tensor, slope: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return │u│ and log ∂│u│/∂a at the distance ``away`` ≥ 0 from the outer knot."""
    heavy = shape > 0
    xi = torch.where(heavy, shape, 1.0)
    rate = edge * slope
    scaled = xi * rate * away
    most = math.expm1(_REACH)
    near = torch.where(scaled < most, scaled, most)
    grown = torch.log1p(near)
    # ½ log of the square: where 2 L vanishes beside e² the root is e to the last bit.
    size = (edge * edge + 2 * grown / xi).sqrt()
    log_slope = rate.log() - grown - size.log()
    straight = size + log_slope.exp() * (scaled - near) / (xi * rate)
    value = torch.where(heavy, straight, edge + slope * away)
    return value, torch.where(heavy, log_slope, slope.log())


def beyond_back(size: Tensor, edge: Tensor, slope: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance a at which │u│ is ``size`` ≥ ``edge``, and log ∂a/∂│u│."""
    heavy = shape > 0
    xi = torch.where(heavy, shape, 1.0)
    rate = edge * slope
    last = (edge * edge + 2 * _REACH / xi).sqrt()
    near = torch.where(size < last, size, last)
    grown = 0.5 * xi * (near - edge) * (near + edge)
    log_slope = near.log() + grown - rate.log()
    curved = torch.expm1(grown) / (xi * rate) + log_slope.exp() * (size - near)
    value = torch.where(heavy, curved, (size - edge) / slope)
    return value, torch.where(heavy, log_slope, -slope.log())
