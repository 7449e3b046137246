"""From noise to data through an autoregressive layer: ways up the levels of its graph.

They are functions of rows, z of shape (rows, D), and return x and the law's log-slopes, both of that shape.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor

from diffeo.conditioners.staged import Stages
from diffeo.kernels.safe import conditioner_input
from diffeo.laws import Law

#: x ↦ θ.
Steer = Callable[[Tensor], Tensor]


def by_levels(law: Law, levels: list[list[int]], steer: Steer, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and the log-slopes, by a whole pass of the conditioner for each level; any batch shape."""
    x, slopes = torch.zeros_like(z), torch.zeros_like(z)
    for level in levels:
        index = torch.tensor(level, device=z.device)
        theta = steer(x).index_select(-2, index)
        value, log_slope = law.forward(z.index_select(-1, index), theta.to(z.dtype))
        x, slopes = x.index_copy(-1, index, value), slopes.index_copy(-1, index, log_slope)
    return x, slopes


def by_stages(
    law: Law, levels: list[list[int]], stages: Stages, z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return x and the log-slopes, by one pass of the conditioner that goes level by level."""
    line = torch.tensor(list(chain.from_iterable(levels)), device=z.device)
    # Features first: what a level takes is then contiguous.
    given = z.t().index_select(0, line).split([len(level) for level in levels])
    theta = stages.begin(z, context)
    values: list[Tensor] = []
    slopes: list[Tensor] = []
    for noise in given:
        if values:
            theta = stages.step(conditioner_input(values[-1].t()))
        value, log_slope = law.forward(noise.t(), theta.to(z.dtype))
        values.append(value.t())
        slopes.append(log_slope.t())
    back = torch.argsort(line)
    x, slope = (torch.cat(parts).index_select(0, back).t().contiguous() for parts in (values, slopes))
    return x, slope
