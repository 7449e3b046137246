"""A row column by column: the law of each, given the columns before it, as sampling and completing ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffeo.tables.mixed.cells import Normals
from diffeo.tables.mixed.network import Pass

if TYPE_CHECKING:
    from diffeo.tables.mixed.rows import MixedRows


class Columns:
    """The laws of columns, each given what was shown of earlier ones; without gradients."""

    def __init__(self, rows: MixedRows, count: int, context: Tensor | None) -> None:
        self._rows, self.count = rows, count
        self._pass = Pass(rows.network, count, context)
        self._shown = rows.get_buffer("_shown")

    def log_states(self, column: int) -> Tensor:
        """Return log P of the states of a column of more than one, ``(rows, states)``."""
        return self._pass.outputs(*self._rows.layout.logits_of(column)).log_softmax(-1)

    def mixture(self, column: int) -> Normals:
        """Return the law of the number of a numeric column, one element a row."""
        theta = self._pass.outputs(*self._rows.layout.numbers_of(column))
        return Normals(theta.unflatten(-1, (-1, 3)), self._rows.get_buffer("_start"))

    def show(self, column: int, z: Tensor) -> None:
        """Show a column of packed rows, of which the columns up to it are known."""
        places = (self._shown == column).nonzero().flatten()
        self._pass.show(column, places, self._rows.shown_of(column, z))

    def drawn(self, generator: torch.Generator | None) -> Tensor:
        """Return packed rows drawn column by column, of columns without lattices."""
        layout = self._rows.layout
        z = self._rows.get_buffer("_start").new_zeros(self.count, layout.width)
        for column, (count, has) in enumerate(zip(layout.states, layout.numeric, strict=True)):
            state = torch.zeros(self.count, dtype=torch.long, device=z.device)
            if count > 1:
                state = drawn_state(self.log_states(column), generator)
                z[:, layout.state_at[column]] = state.to(z.dtype)
            if has:
                u = torch.where(state == 0, self.mixture(column).draw(generator), 0.0)
                z[:, layout.number_at[layout.continuous.index(column)]] = u
            self.show(column, z)
        return z


def drawn_state(log_p: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a state for each row of log-probabilities ``(rows, states)``, which need not be normalised."""
    ends = (log_p - log_p.amax(-1, keepdim=True)).exp().cumsum(-1)
    level = torch.rand(len(ends), 1, generator=generator, dtype=ends.dtype, device=ends.device)
    # Right of all ends that the level has passed: a state of probability 0 is never drawn.
    found = torch.searchsorted(ends, level * ends[:, -1:], right=True).squeeze(-1)
    return found.clamp(max=ends.shape[-1] - 1)
