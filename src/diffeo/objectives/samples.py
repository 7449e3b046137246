"""Draws of a flow beside data: what distances between samples compare."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.errors import ShapeError
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch
from diffeo.objectives.target import check_differentiable


def drawn_beside(flow: Flow, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return rows of data and as many draws with gradients, each flat, their context joined to both.

    With context the pair (x, c) is compared with (x̃, c), x̃ ~ p_θ(· | c): a distance between joint laws is 0
    only where the conditional ones agree.

    Raises:
        ShapeError: there are fewer than two rows.
        ConfigError: draws of the base are not differentiable in its parameters.
    """
    rows = len(batch.x)
    if rows < 2:
        raise ShapeError(f"batch has {rows} row(s); expected at least 2, for distances between rows.")
    shape = (rows,) if batch.context is None else ()
    model = flow.rsample(shape, batch.context)
    check_differentiable(flow, model)
    pair = batch.x.flatten(1), model.flatten(1)
    if batch.context is None:
        return pair
    given = batch.context
    return torch.cat([pair[0], given], -1), torch.cat([pair[1], given], -1)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return ‖aᵢ − bⱼ‖², from differences: products would lose the digits of near rows."""
    return (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)


def mean_apart(pairs: Tensor) -> Tensor:
    """Return the mean of a square matrix without its diagonal: the unbiased mean over pairs i ≠ j."""
    n = len(pairs)
    return (pairs.sum() - pairs.diagonal().sum()) / (n * (n - 1))
