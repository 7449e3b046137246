"""Randomised quantile residuals: z standard normal, exactly, where the model is right.

A column's outcomes divide [0, 1] given the columns before it, as in :mod:`~diffeo.tables.mixed.latent`; an
outcome with mass stands for a point drawn uniformly within its part, so that t is uniform whatever the
steps. A number of a lattice that is also an atom has two parts, of which one is drawn by its size.

Source: Dunn & Smyth, *Randomized quantile residuals* (1996).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.tables.mixed.latent import below
from diffeo.tables.variable import Encoded

if TYPE_CHECKING:
    from diffeo.tables.mixed.columns import Columns
    from diffeo.tables.mixed.model import MixedModel

Floats = NDArray[np.float64]

#: Nearer to 0 or 1 than this, quantiles are taken to be here.
_LEAST = 1e-16


@torch.no_grad()
def residuals(model: MixedModel, rows: Encoded, generator: torch.Generator, given: int = 0) -> Floats:
    """Return residuals, (rows, columns); NaN in the first ``given`` columns and in impossible cells."""
    found = np.full(rows.state.shape, np.nan)
    for part in model.packed_in_parts(rows):
        going, some = model.rows.columns(len(rows.state[part])), rows.rows(part)
        z, _, ok = model.pack_apart(some)
        state = torch.from_numpy(some.state).clamp(min=0)
        for column in range(len(model.variables)):
            if column >= given:
                t = _drawn(model, column, going, state[:, column], z, generator)
                t = torch.where(ok[:, column], t, torch.nan)
                found[part, column] = torch.special.ndtri(t.clamp(_LEAST, 1 - _LEAST)).numpy()
            going.show(column, z)
    return found


def _drawn(
    model: MixedModel, column: int, going: Columns, state: Tensor, z: Tensor, generator: torch.Generator
) -> Tensor:
    """Return a point in each outcome's part of [0, 1]."""
    variable, layout = model.variables[column], model.rows.layout
    chance, other = torch.rand(2, going.count, generator=generator, dtype=torch.float64)
    begin, size = (
        torch.zeros(going.count, dtype=torch.float64),
        torch.ones(going.count, dtype=torch.float64),
    )
    whole = size
    if variable.states > 1:
        p = going.log_states(column).exp()
        at = state.unsqueeze(-1)
        size = p.gather(-1, at).squeeze(-1)
        begin = p.cumsum(-1).gather(-1, at).squeeze(-1) - size
        whole = p[:, 0]
    point = begin + size * chance
    if not variable.numeric:
        return point
    law = going.mixture(column)
    if column in layout.continuous:
        within = below(law, z[:, layout.number_at[layout.continuous.index(column)]])
        return torch.where(state == 0, begin + size * within, point)
    at = layout.cell_at[layout.cells.index(column)]
    low, high = below(law, z[:, at]), below(law, z[:, at + 1])
    cell = whole * (high - low)  # the part that state 0, which stands first, has for this number
    atom = (state > 0) & (state <= variable.levels)
    in_cell = (state == 0) | (atom & (other * (cell + size) < cell))
    return torch.where(in_cell, whole * low + cell * chance, point)
