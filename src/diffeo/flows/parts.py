"""How many rows go through a flow together, where no gradient is asked for: as many as a budget holds.

A row needs room for the widest array that any of its layers makes,

    numbers = max over layers of (event, θ = elements · n_params, hidden units, what a law makes of θ),

COPIES times: layers come one after another, and so many arrays are alive at once within a formula. An image
whose network has 512 channels needs thousands of times the room of a table's row: any fixed number of rows
would be too many for the one and too few for the other.

These are the numbers of torch's formulas. Layers in compiled kernels hold events alone, going tile by tile.
"""

from __future__ import annotations

import sys

import torch

from diffeo.bijections import BatchNorm, Bijection
from diffeo.conditioners import Conditioner
from diffeo.kernels.tiles import TILE
from diffeo.laws import Law

#: Bytes that rows may take on their way.
BUDGET = 2**27

#: Rows that go together at most: more bring nothing.
MOST = 2**14

#: Arrays of the widest size that are alive at once.
COPIES = 6


def rows_together(bijection: Bijection, event: torch.Size, itemsize: int) -> int:
    """Return how many rows go through ``bijection`` together: whole tiles of them.

    Where a layer reads its batch, while it trains, it is all rows.

    Args:
        bijection: what they go through.
        event: the shape of one row.
        itemsize: bytes of a number.

    >>> from diffeo.bijections import Scale
    >>> [rows_together(Scale(features), torch.Size([features]), 4) for features in (10, 1_000)]
    [16384, 5568]
    """
    if any(isinstance(module, BatchNorm) and module.training for module in bijection.modules()):
        return sys.maxsize
    room = BUDGET // (itemsize * COPIES * numbers_a_row(bijection, event))
    return min(MOST, max(room // TILE, 1) * TILE)


def numbers_a_row(bijection: Bijection, event: torch.Size) -> int:
    """Return how many numbers the widest array has that a layer makes of one row."""
    elements = max(event.numel(), 1)
    most = elements
    for module in bijection.modules():
        if isinstance(module, Conditioner):
            most = max(most, module.breadth(), module.out_features * module.n_params)
        elif isinstance(module, Bijection):
            law = getattr(module, "law", None)
            most = max(most, module.breadth(), elements * law.breadth if isinstance(law, Law) else 0)
    return most
