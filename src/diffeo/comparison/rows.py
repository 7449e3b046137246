"""The rows that models are compared on: the same for all, trained on and held out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.toys import Toy

Array = NDArray[np.float64]

#: Rows that a comparison needs: less, and no figure of it would say anything.
FEWEST = 40


@dataclass(frozen=True)
class Rows:
    """Rows to train on and rows held out.

    Attributes:
        name: of the data.
        train: rows that every model is fitted to, (rows, *event).
        held: rows that no model sees, as every figure is measured on them.
        columns: names of the numbers of a row, empty for images.
        notes: what was done to the data, each a sentence: what was left out, what was dequantised.
        toy: the density that the rows were drawn from, where it is known.
    """

    name: str
    train: Array = field(repr=False)
    held: Array = field(repr=False)
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    toy: Toy | None = field(default=None, repr=False)

    @property
    def event(self) -> tuple[int, ...]:
        """Return the shape of a row."""
        return self.train.shape[1:]

    @property
    def images(self) -> bool:
        """Return whether rows are images (channels, height, width)."""
        return len(self.event) == 3

    @property
    def features(self) -> int:
        """Return how many numbers a row has."""
        return int(np.prod(self.event))

    def truth(self, x: Array) -> Array | None:
        """Return the exact log p of rows, in nats; None where it is not known."""
        return None if self.toy is None else self.toy.log_prob(torch.as_tensor(x)).numpy()

    def standard(self, x: Array) -> Array:
        """Return rows in common units: columns by their spread in training rows, pixels all alike.

        Distances between rows are measured in these; densities are always in the data's own units.
        """
        flat, train = x.reshape(len(x), -1), self.train.reshape(len(self.train), -1)
        scale = np.full(self.features, train.std()) if self.images else train.std(0)
        return (flat - train.mean(0)) / np.where(scale > 0, scale, 1.0)


def divided(
    name: str,
    x: Array,
    *,
    share: float,
    seed: int,
    most: int | None,
    columns: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
) -> Rows:
    """Return rows of which a random share is held out; of more than ``most``, a random choice is kept.

    Raises:
        DataError: there are too few.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    if most is not None and most < len(x):
        notes = (*notes, f"{most:,} of {len(x):,} rows were chosen at random.")
        order = order[:most]
    if len(order) < FEWEST:
        raise DataError(
            f"x has {len(order)} rows to compare on; expected at least {FEWEST}: give more rows."
        )
    held = max(round(share * len(order)), 10)
    return Rows(name, x[order[held:]], x[order[:held]], columns, notes)
