"""Layers of a masked network, of units that arrive in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.arrival import Arrival, blocks, ends


class StagedLinear:
    """W h + b of units that arrive in time, from units h that arrive in time, each computed once.

    Units are the first dimension and rows the second: what is known at a time, and what arrives, is then
    contiguous. At the first time of a block of times, all that is known reaches the units of the whole
    block; what arrives within the block reaches the rest of the block.

    Args:
        weight, bias: of the layer, as it stands: (units, inputs), (units,).
        outputs, inputs: when its units and its inputs arrive.

    >>> one, other = Arrival([0, 1], [1, 2]), Arrival([1, 0], [1, 2])
    >>> layer = StagedLinear(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.zeros(2), one, other)
    >>> layer(0, torch.tensor([[5.0]])), layer(1, torch.tensor([[7.0]]))  # h₁ = 5, then h₀ = 7
    (tensor([[5.]]), tensor([[29.]]))
    """

    def __init__(self, weight: Tensor, bias: Tensor, outputs: Arrival, inputs: Arrival) -> None:
        rows = torch.tensor(outputs.order, device=weight.device)
        columns = torch.tensor(inputs.order, device=weight.device)
        self._weight = weight.index_select(0, rows).index_select(1, columns)
        self._bias = bias.index_select(0, rows).unsqueeze(-1)
        self._outputs, self._inputs = outputs, inputs
        self._ends = ends(blocks(len(outputs.known)), len(outputs.known))
        self._past: list[Tensor] = []  # inputs that were known when a block began, in parts
        self._fresh: list[Tensor] = []  # those that have arrived since
        self._pending = self._bias  # units of the block that have yet to arrive, as far as they are known

    def __call__(self, time: int, fresh: Tensor) -> Tensor:
        """Return the units that arrive at ``time``, (units, rows), given the inputs that do."""
        begin, end = self._outputs.fresh(time)
        first, _ = self._inputs.fresh(time)
        self._fresh.append(fresh)
        stop = self._ends.get(time)
        if stop is not None:
            self._past.append(torch.cat(self._fresh))
            self._fresh = []
            self._pending = self._bias[begin : self._outputs.known[stop - 1]].expand(-1, fresh.shape[1])
            at = 0
            for part in self._past:
                self._reach(begin, at, part)
                at += part.shape[0]
        else:
            self._reach(begin, first, fresh)
        arrived, self._pending = self._pending.tensor_split([end - begin])
        return arrived

    def _reach(self, row: int, column: int, inputs: Tensor) -> None:
        """Add what ``inputs`` contribute to what is pending."""
        units, count = self._pending.shape[0], inputs.shape[0]
        if units and count:
            weight = self._weight[row : row + units, column : column + count]
            self._pending = torch.addmm(self._pending, weight, inputs)


#: What becomes of the units that arrive at a time on the way through a part of a network.
Stage = Callable[[int, Tensor], Tensor]


class Elementwise:
    """An activation, of the units that arrive."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, time: int, fresh: Tensor) -> Tensor:
        """Return the module's value."""
        return self._module(fresh)


class Residual:
    """h + stages(h), of the units that arrive."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages

    def __call__(self, time: int, fresh: Tensor) -> Tensor:
        """Return h and what the stages add to it."""
        return fresh + through(self._stages, time, fresh)


def through(stages: Sequence[Stage], time: int, fresh: Tensor) -> Tensor:
    """Return what becomes of the units that arrive at ``time``, stage after stage."""
    for stage in stages:
        fresh = stage(time, fresh)
    return fresh
