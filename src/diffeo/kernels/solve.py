"""Solutions that are searched for row by row: what a search reached, and the search of a contraction.

A row that has arrived stays as it is, so that its answer has the same bits whatever rows are beside it.
The root of an increasing function is in :mod:`diffeo.kernels.roots`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.kernels.roots import certain


class SolveInfo(NamedTuple):
    """What a search reached, for each row.

    Attributes:
        converged: whether the solution was found; the value of a row whose was not is NaN.
        residual: how far the image of the solution is from what was given, the largest element.
        iterations: steps that the search took for the row; 0 where a formula took its place.
    """

    converged: Tensor
    residual: Tensor
    iterations: Tensor


class Contracted(NamedTuple):
    """The fixed point of a contraction of rows, and how it was found.

    Attributes:
        value: x, near its own image.
        converged: whether the last step of the row was within the tolerance.
        iterations: steps, per row.
    """

    value: Tensor
    converged: Tensor
    iterations: Tensor


@torch.no_grad()
def contracted(
    function: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_iter: int
) -> Contracted:
    """Return x near its own image under a contraction of rows, without derivatives.

    A row goes on to its image until that moves it by at most ``tolerance`` · max(1, ‖x‖∞). A contraction by
    L is then within ``tolerance`` · L / (1 − L) of its fixed point.

    Shapes: ``start`` and the value (rows, n), all else (rows,).

    Source: Banach, *Sur les opérations dans les ensembles abstraits* (1922), theorem 6.

    >>> contracted(lambda x: 1 + x / 2, torch.zeros(1, 1), 1e-6, 100).value
    tensor([[2.0000]])
    """
    x, iterations = start, torch.zeros_like(start[:, 0])
    done = iterations > 0
    for _ in range(max_iter):
        ahead = function(x)
        moved = (ahead - x).abs().amax(-1)
        iterations = iterations + torch.where(done, 0.0, 1.0)
        reached = moved <= tolerance * ahead.abs().amax(-1).clamp(min=1.0)
        x = torch.where(done.unsqueeze(-1), x, ahead)
        done = done | reached
        if certain(done):
            break
    return Contracted(x, done, iterations)
