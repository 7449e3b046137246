"""Rows as latent numbers and back: each column's conditional distribution function, in normal quantiles.

Given the columns before it, the outcomes of a column divide [0, 1]: its states in order, each as wide as it
is probable, and within the state of a number its distribution function, a cell of a lattice as wide as its
mass. An outcome with mass stands for the middle t of its part, a continuous number for F itself, and

    z = Φ⁻¹(t).

Back, Φ(z) lies in the part of exactly one outcome. Where the model is right, z of continuous columns is
standard normal (Rosenblatt, *Remarks on a multivariate transformation*, 1952); of others it is as near as
their steps allow. Float64 tells quantiles apart within about ±8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.errors import ShapeError
from diffeo.tables.mixed.cells import EDGE, Normals
from diffeo.tables.mixed.columns import Columns
from diffeo.tables.mixed.marginals import value_of
from diffeo.tables.variable import Encoded

if TYPE_CHECKING:
    from diffeo.tables.mixed.model import MixedModel

Floats = NDArray[np.float64]

#: Nearer to 0 or 1 than this, quantiles are taken to be here.
_LEAST = 1e-16

#: A bisection halves this often: from ±10⁶ to below a rounding of a quantile.
_HALVINGS = 80


@torch.no_grad()
def latent(model: MixedModel, rows: Encoded, given: int = 0) -> Floats:
    """Return z of rows, (rows, columns); NaN in the first ``given`` columns and in impossible cells."""
    found = np.full(rows.state.shape, np.nan)
    for part in model.packed_in_parts(rows):
        going, some = model.rows.columns(len(rows.state[part])), rows.rows(part)
        z, _, ok = model.pack_apart(some)
        state = torch.from_numpy(some.state).clamp(min=0)
        for column in range(len(model.variables)):
            if column >= given:
                t = _middle(model, column, going, state[:, column], z)
                t = torch.where(ok[:, column], t, torch.nan)
                found[part, column] = torch.special.ndtri(t.clamp(_LEAST, 1 - _LEAST)).numpy()
            going.show(column, z)
    return found


@torch.no_grad()
def decoded(model: MixedModel, z: Floats, prefix: Encoded | None, given: int = 0) -> Encoded:
    """Return the rows of latent numbers of the columns that are not given by ``prefix``."""
    columns = len(model.variables)
    if z.ndim != 2 or z.shape[1] != columns - given or (prefix is None) is not (given == 0):
        raise ShapeError(
            f"z has shape {z.shape}; expected (rows, {columns - given}), and a prefix of {given} columns."
        )
    state, value = np.zeros((len(z), columns), np.int64), np.full((len(z), columns), np.nan)
    if prefix is not None:
        state[:, :given], value[:, :given] = prefix.state, prefix.value
    t = torch.special.ndtr(torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64)))
    for part in model.packed_in_parts(Encoded(state, value)):
        going = model.rows.columns(len(state[part]))
        packed = torch.zeros(going.count, model.rows.layout.width, dtype=torch.float64)
        for column in range(columns):
            if column >= given:
                outcome = _outcome(model, column, going, t[part, column - given])
                state[part, column], value[part, column] = (one.numpy() for one in outcome)
            cells = torch.from_numpy(state[part, column]), torch.from_numpy(value[part, column])
            model.pack_column(column, *cells, packed)
            going.show(column, packed)
    return Encoded(state, value)


def _middle(model: MixedModel, column: int, going: Columns, state: Tensor, z: Tensor) -> Tensor:
    """Return the middle of each outcome's part of [0, 1]."""
    variable, layout = model.variables[column], model.rows.layout
    begin, size = (
        torch.zeros(going.count, dtype=torch.float64),
        torch.ones(going.count, dtype=torch.float64),
    )
    if variable.states > 1:
        p = going.log_states(column).exp()
        at = state.unsqueeze(-1)
        size = p.gather(-1, at).squeeze(-1)
        begin = p.cumsum(-1).gather(-1, at).squeeze(-1) - size
    middle = begin + 0.5 * size
    if not variable.numeric:
        return middle
    law = going.mixture(column)
    if column in layout.continuous:
        within = below(law, z[:, layout.number_at[layout.continuous.index(column)]])
    else:
        at = layout.cell_at[layout.cells.index(column)]
        within = 0.5 * (below(law, z[:, at]) + below(law, z[:, at + 1]))
    return torch.where(state == 0, begin + size * within, middle)


def _outcome(model: MixedModel, column: int, going: Columns, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the state and the value in whose part of [0, 1] each t lies."""
    variable = model.variables[column]
    state, within = torch.zeros(going.count, dtype=torch.long), t
    if variable.states > 1:
        p = going.log_states(column).exp()
        ends = p.cumsum(-1)
        state = torch.searchsorted(ends, t.unsqueeze(-1) * ends[:, -1:], right=True).squeeze(-1)
        state = state.clamp(max=variable.states - 1)
        within = (t / p[:, 0].clamp(min=1e-300)).clamp(0, 1)
    if not variable.numeric:
        return state, torch.full_like(t, torch.nan)
    u = _quantile(going.mixture(column), within)
    number = value_of(variable, model.marginals[column], u)
    atoms = torch.tensor([torch.nan, *variable.atoms, torch.nan], dtype=torch.float64)
    return model.as_atoms(column, state, torch.where(state == 0, number, atoms[state]))


def below(law: Normals, u: Tensor) -> Tensor:
    """Return F(u) of a mixture of normals."""
    standard = (u.clamp(-EDGE, EDGE).unsqueeze(-1) - law.mean) * (-law.log_scale).exp()
    return (law.log_weight.exp() * torch.special.ndtr(standard)).sum(-1)


def _quantile(law: Normals, t: Tensor) -> Tensor:
    """Return u with F(u) = t, by bisection."""
    reach = 40 * law.log_scale.exp()
    low, high = (law.mean - reach).amin(-1), (law.mean + reach).amax(-1)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        right = below(law, middle) < t
        low, high = torch.where(right, middle, low), torch.where(right, high, middle)
    return 0.5 * (low + high)
