"""The network of a mixed row: one pass gives every column's parameters, each from the columns before it.

Columns show blocks of inputs (a one-hot of the state, the number, waves of it) and want blocks of outputs;
otherwise it is the residual masked network of :class:`~diffeo.conditioners.MaskedResidualMLP`. A hidden
unit of degree d sees the columns up to d, and a column reads the units of lower degree than its own. Units
are sorted by degree, so that :class:`Pass` goes on column by column and computes each unit once.

Source: Germain, Gregor, Murray & Larochelle, *MADE* (2015); Nash & Durkan, *Autoregressive energy machines*
(2019), section 3.2, for the residual blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.conditioners.masked_layers import MaskedBlock, MaskedLinear, zero


class MaskedColumns(nn.Module):
    """θ = m(inputs, context), with θ of a column a function of the inputs of earlier columns.

    It is zero at the start but for its last bias; where no output may depend on anything, or with
    ``hidden=0``, that bias is all there is.

    Args:
        shown: the column of each input.
        wanted: the column of each output.
        hidden: hidden units; fewer than there are columns leave some dependences out.
        blocks: residual blocks.
        dropout: the probability of dropping a unit inside a block, in training.
        context: features that every unit sees besides.
    """

    def __init__(
        self,
        shown: Sequence[int],
        wanted: Sequence[int],
        hidden: int,
        blocks: int,
        dropout: float,
        context: int,
    ) -> None:
        super().__init__()
        columns = np.asarray(wanted)
        # Degree −1 sees the context alone; no unit needs to see the last column.
        first, last = -1 if context else 0, int(columns.max(initial=0)) - 1
        self.degrees = np.arange(hidden) * (last - first + 1) // max(hidden, 1) + first
        if last < first or not hidden:
            self.bias = nn.Parameter(torch.zeros(len(columns)))
            self.degrees = self.degrees[:0]
            return
        degrees = self.degrees
        inputs = np.pad(np.asarray(shown, dtype=np.int64), (0, context), constant_values=-1)
        self.entry = MaskedLinear(degrees[:, None] >= inputs)
        within = degrees[:, None] >= degrees
        self.blocks = nn.Sequential(*(MaskedBlock(within, "silu", dropout) for _ in range(blocks)))
        self.exit = zero(MaskedLinear(columns[:, None] > degrees))

    def outlet(self) -> nn.Parameter:
        """Return the last bias: θ before anything is learned."""
        return self.exit.bias if len(self.degrees) else self.bias

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ, ``batch + (outputs,)``."""
        if not len(self.degrees):
            return self.bias.expand(*inputs.shape[:-1], -1)
        given = inputs if context is None else torch.cat([inputs, context], -1)
        return self.exit(nn.functional.silu(self.blocks(self.entry(given))))


class Pass:
    """θ column by column, each column's inputs shown when they are known; without gradients.

    Args:
        network: the network, in evaluation mode.
        rows: how many rows go through.
        context: ``(rows, context features)``, or None.
    """

    def __init__(self, network: MaskedColumns, rows: int, context: Tensor | None = None) -> None:
        self._network, self._rows, self._ready = network, rows, 0
        if not len(network.degrees):
            return
        size, bias = len(network.degrees), network.entry.bias
        self._weights = [network.entry.masked_weight()]
        self._entry = bias.expand(rows, -1).clone()
        if context is not None:
            self._entry += context @ self._weights[0][:, -context.shape[-1] :].T
        #: After the entry, then within and after each block.
        self._units = [bias.new_zeros(rows, size) for _ in range(2 * len(network.blocks) + 1)]
        self._layers = [layer for layer in network.blocks.modules() if isinstance(layer, MaskedLinear)]
        self._masked = [layer.masked_weight() for layer in self._layers]
        self._out = network.exit.masked_weight()
        self._grow(-1)

    def outputs(self, start: int, stop: int) -> Tensor:
        """Return the outputs from ``start`` to ``stop``, whose column's predecessors have been shown."""
        if not len(self._network.degrees):
            return self._network.bias[start:stop].expand(self._rows, -1)
        seen = nn.functional.silu(self._units[-1][:, : self._ready])
        bias = self._network.exit.bias[start:stop]
        return torch.addmm(bias, seen, self._out[start:stop, : self._ready].T)

    def show(self, column: int, places: Tensor, inputs: Tensor) -> None:
        """Show the inputs of a column, ``(rows, len(places))``, which stand at ``places``."""
        if not len(self._network.degrees):
            return
        if len(places):
            self._entry += inputs @ self._weights[0][:, places].T
        self._grow(column)

    def _grow(self, degree: int) -> None:
        """Compute the units up to a degree: they see nothing that is still to come."""
        start, stop = self._ready, int(np.searchsorted(self._network.degrees, degree, side="right"))
        if start == stop:
            return
        new = slice(start, stop)
        self._units[0][:, new] = self._entry[:, new]
        for k, (layer, weight) in enumerate(zip(self._layers, self._masked, strict=True)):
            before = nn.functional.silu(self._units[k][:, :stop])
            found = torch.addmm(layer.bias[new], before, weight[new, :stop].T)
            self._units[k + 1][:, new] = found + self._units[k - 1][:, new] if k % 2 else found
        self._ready = stop
