"""The body of a column: its density where data are dense, and the distribution function there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.marginals.charts import Chart, charts
from diffeo.bijections.marginals.penalised import LogDensity, penalised
from diffeo.kernels.normal_scores import normal_score

#: Cells in which the density is integrated.
CELLS = 2048
#: An interval without width (ties) gets this part of the whole range.
_NARROW = 1e-3
#: The least part of the body's mass that is spread evenly: no gap between ties is empty.
_LEAST_EVEN = 1e-4
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class Body(NamedTuple):
    """A density on [low, high], known at CELLS + 1 equal steps of its chart.

    Attributes:
        chart: t ↦ v.
        log_density: log p at the steps, per unit of v.
        below: F at the steps; above 0 at the first, below 1 at the last.
    """

    chart: Chart
    log_density: Tensor
    below: Tensor

    def log_prob(self, t: Tensor) -> Tensor:
        """Return log p(t) for values in [low, high]."""
        v, log_slope = self.chart.to(t)
        place = (v * CELLS).clamp(0, CELLS)
        left = place.long().clamp(max=CELLS - 1)
        return torch.lerp(self.log_density[left], self.log_density[left + 1], place - left) + log_slope

    def at(self, cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return t, u = Φ⁻¹(F(t)) and log du/dt at these steps."""
        t = self.chart.back(cells.double() / CELLS)
        u = normal_score(self.below[cells])
        log_p = self.log_density[cells] + self.chart.to(t)[1]
        return t, u, log_p + 0.5 * u * u + _LOG_ROOT_2PI


def fit_body(t: Tensor, segments: int) -> Body:
    """Return the density of the sorted values t between two of them near both ends."""
    n = t.shape[0]
    outer = max(1, round(0.25 * math.sqrt(n)))
    low, high = float(t[outer - 1]), float(t[n - outer])
    whole = float(t[-1] - t[0])
    if high - low <= 1e-9 * whole:
        low, high = low - _NARROW * whole, high + _NARROW * whole
    # Half an observation more than lies outside: as if the value at the edge were on both sides.
    first = (int((t < low).sum()) + 0.5) / (n + 1)
    last = 1 - (int((t > high).sum()) + 0.5) / (n + 1)
    inside = t[(t >= low) & (t <= high)]
    best: tuple[float, Chart, LogDensity] | None = None
    for chart in charts(inside, low, high):
        v, log_slope = chart.to(inside)
        found = penalised(v.clamp(0, 1), segments)
        aic = found.aic - 2 * float(log_slope.sum()) + 2 * chart.price
        if best is None or aic < best[0]:
            best = aic, chart, found
    assert best is not None
    _, chart, density = best
    v = torch.linspace(0, 1, CELLS + 1, dtype=torch.float64)
    log_g, log_middle = density.at(v), density.at((v[1:] + v[:-1]) / 2)
    top = log_g.max()
    g, middle = (log_g - top).exp(), (log_middle - top).exp()
    total = (g[1:] + 4 * middle + g[:-1]).sum() / (6 * CELLS)
    even = min(max(0.5 / n, _LEAST_EVEN), 0.02)
    g, middle = ((1 - even) * part / total + even for part in (g, middle))
    mass = ((g[1:] + 4 * middle + g[:-1]) / (6 * CELLS)).cumsum(0)
    below = torch.cat([mass.new_zeros(1), mass / mass[-1]]) * (last - first) + first
    return Body(chart, g.log() + math.log(last - first) - mass[-1].log(), below)
