"""Autograd's Jacobian of a map of rows: in one backward pass where rows are few, else in D.

Rows do not know each other. So D copies of a batch go through the map together, copy j is asked for output
j, and one backward pass returns every row of every Jacobian. Where so many copies would be a large batch,
the batch goes through once and D backward passes come back, one for each output.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: The most rows, copies counted, of the one pass: few enough that a pass of them costs what its calls cost.
TOGETHER = 1024


def jacobian_of(
    function: Callable[[Tensor, Tensor | None], Tensor],
    at: Tensor,
    context: Tensor | None = None,
    *,
    together: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return ∂out/∂in for each row, (rows, D, D), and the function's values, (rows, D).

    Shapes: ``at`` is (rows, *event) with D elements in an event, the context (rows, features), one row for
    all or None; the function returns (rows, *event). An output that autograd sees no connection to has
    slopes of 0. With ``together=False`` there are D backward passes however few the rows are.

    >>> slopes, _ = jacobian_of(lambda x, context: x**2, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> slopes[1].tolist()
    [[6.0, 0.0], [0.0, 8.0]]
    """
    # Reverse mode: loading torch's forward mode compiles, and warns, on first use.
    count, size = at.shape[0], at.shape[1:].numel()
    copies = size if together and count * size <= TOGETHER else 1
    with torch.enable_grad():
        leaf = at.detach().repeat(copies, *[1] * (at.ndim - 1)).requires_grad_()
        given = context.repeat(copies, 1) if context is not None and context.ndim > 1 else context
        value = function(leaf, given).reshape(copies, count, size)
        # Copy j is asked for output j alone; a single one is asked for one output after another.
        asked = [value.diagonal(dim1=0, dim2=2)] if copies > 1 else list(value[0].unbind(-1))
        slopes = [_slopes(outputs.sum(), leaf).reshape(copies, count, size) for outputs in asked]
    return torch.cat(slopes).transpose(0, 1), value[0].detach()


def _slopes(total: Tensor, leaf: Tensor) -> Tensor:
    slope = None
    if total.requires_grad:
        (slope,) = torch.autograd.grad(total, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope
