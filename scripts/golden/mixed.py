"""The recipe of a density of mixed columns."""

from __future__ import annotations

import math

import numpy as np
import torch

from diffeo.tables import Encoded, MixedDensity, MixedSettings, Variable
from golden.material import Made, normal


def mixed() -> Made:
    """Return a density of a category, counts with an atom, and an amount with holes; rows and values."""
    noise = normal(60, 2)
    colour = torch.arange(60) % 3
    count = (colour + 1.5 * noise[:, 0]).round().clamp(0, 6)
    hole = noise[:, 1] > 1
    nothing = torch.full((60,), math.nan, dtype=torch.float64)
    state = torch.stack([colour, (count == 0).long(), hole.long()], 1)
    value = torch.stack([nothing, count, torch.where(hole, nothing, noise[:, 1].exp())], 1)
    columns = (
        Variable("colour", 3),
        Variable("count", 1, numeric=True, lattice=1.0, low=0.0, high=6.0, atoms=(0.0,)),
        Variable("amount", 0, numeric=True, low=0.0, missing=True),
    )
    small = MixedSettings(hidden=8, blocks=1, components=2, max_steps=20)
    folds = [(np.arange(50), np.arange(50, 60))]
    rows = Encoded(state.numpy(), value.numpy())
    model, _ = MixedDensity.fit(columns, rows, folds, budget=300.0, settings=small)
    return model, state.double(), value
