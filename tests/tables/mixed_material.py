"""Small mixed tables, and what a density of mixed rows is summed over."""

import numpy as np
import torch

from diffeo.tables.mixed import MixedModel, MixedRows
from diffeo.tables.mixed.marginals import fit_marginals, nearest_inside
from diffeo.tables.mixed.model import described
from diffeo.tables.variable import Encoded, Variable
from diffeo.testing import stress

COLOUR = Variable("colour", levels=3)
ANSWER = Variable("answer", levels=2, missing=True)
COUNT = Variable("count", levels=2, numeric=True, lattice=1.0, low=0.0, high=6.0, atoms=(0.0, 3.0))
PRICE = Variable("price", levels=0, numeric=True, lattice=0.25, origin=1.0, missing=True)
RAIN = Variable("rain", levels=1, numeric=True, low=0.0, atoms=(0.0,), missing=True)
FLOOD = Variable("flood", levels=1, numeric=True, atoms=(0.0,), missing=True)
WIDTH = Variable("width", levels=0, numeric=True)


def drawn(variables, rows=400, seed=0):
    """Return rows in which every column leans on the one before it."""
    rng = np.random.default_rng(seed)
    state, value = np.zeros((rows, 0), int), np.zeros((rows, 0))
    lean = rng.integers(0, 3, rows)
    for variable in variables:
        v = np.full(rows, np.nan)
        if not variable.numeric:
            s = (lean + (rng.random(rows) < 0.3)) % variable.states
            lean = s % 3
        else:
            raw = lean + rng.normal(size=rows)
            if variable.lattice:
                step = np.rint(raw / variable.lattice)
                v = variable.origin + step * variable.lattice
                v = np.clip(v, variable.low, variable.high)
            else:
                v = np.exp(raw) if variable.low is not None else raw
            s = np.zeros(rows, int)
            for level, atom in enumerate(variable.atoms, 1):
                if not variable.lattice:
                    v = np.where(rng.random(rows) < 0.3, atom, v)
                s = np.where(v == atom, level, s)
            if variable.missing:
                hole = rng.random(rows) < 0.2
                s, v = np.where(hole, variable.states - 1, s), np.where(hole, np.nan, v)
            lean = np.where(np.isnan(v), 2, np.clip(np.nan_to_num(v), 0, 2)).astype(int)
        state, value = np.column_stack([state, s]), np.column_stack([value, v])
    return Encoded(state, value)


def stressed(variables, gain=1.0, seed=0, hidden=12, components=3, dropout=0.0):
    """Return a model with fitted marginals, whose network has random weights times ``gain``."""
    encoded = drawn(variables, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        rows = MixedRows(
            *described(variables), hidden=hidden, blocks=1, components=components, dropout=dropout
        )
    rows = stress(rows, gain, seed)
    model = MixedModel(variables, fit_marginals(variables, encoded, seed), rows).eval()
    model.inside.copy_(nearest_inside(variables, encoded))
    return model


def outcomes(variable, marginal, points, reach=400):
    """Return the states and values of a column, and the measure of each: 1, or its part of the line."""
    levels = range(int(variable.numeric), variable.states)
    atoms = dict(enumerate(variable.atoms, 1))
    found = [(state, atoms.get(state, np.nan), 1.0) for state in levels]
    if variable.numeric and variable.lattice:
        low, high = variable.low, variable.high
        first = -reach if low is None else round((low - variable.origin) / variable.lattice)
        last = reach if high is None else round((high - variable.origin) / variable.lattice)
        values = variable.origin + variable.lattice * np.arange(first, last + 1)
        found += [(0, v, 1.0) for v in values if v not in variable.atoms]
    elif variable.numeric:
        # Even in the units in which the column is normal: no part of the line is too small or too far.
        # Conditionals have means within ±8 and deviations up to e there.
        ends = torch.linspace(-20, 20, 2 * points + 1, dtype=torch.float64)
        x = marginal.elementwise_back(ends[:, None])[:, 0].numpy()
        found += [(0, v, w) for v, w in zip(x[1::2], np.diff(x[::2]), strict=True)]
    return found


def everything(variables, marginals, points):
    """Return every row of a table, and the measure that each stands for."""
    each = [outcomes(v, m, points) for v, m in zip(variables, marginals, strict=True)]
    index = np.stack([k.ravel() for k in np.meshgrid(*(range(len(e)) for e in each), indexing="ij")], -1)
    tables = [np.array(e) for e in each]
    picked = np.stack([table[index[:, k]] for k, table in enumerate(tables)], 1)
    return Encoded(picked[..., 0].astype(int), picked[..., 1]), picked[..., 2].prod(1)
