"""The rows that a fit learns from: weighted, split, and joined by more, no row on both sides of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from diffeo.estimator.folds import MOST_HELD, Fold, Rows, folds_of
from diffeo.tables.variable import Encoded


@dataclass(frozen=True)
class Seen:
    """Rows and their folds.

    Attributes:
        rows: the rows, as often as they count.
        folds: what is trained on and what is held out. All copies of a row are on one side.
    """

    rows: Encoded
    folds: list[Fold]

    @classmethod
    def of(
        cls, rows: Encoded, index: Rows | None, seed: int, splits: int = 5, most: int = MOST_HELD
    ) -> Self:
        """Split rows, few of them in so many folds, and then repeat them as ``index`` says.

        Of many rows no more than ``most`` are held out.

        >>> one = Encoded(np.zeros((4, 1), np.int64), np.full((4, 1), np.nan))
        >>> seen = Seen.of(one, np.array([0, 0, 1, 2, 3]), seed=0)
        >>> all(({0, 1} <= set(train)) or ({0, 1} <= set(held)) for train, held in seen.folds)
        True
        """
        if index is None:
            return cls(rows, folds_of(len(rows), seed, splits, most))
        used, place = np.unique(index, return_inverse=True)
        folds = folds_of(len(used), seed, splits, most)
        return cls(
            rows.rows(index), [(_copies(train, place), _copies(held, place)) for train, held in folds]
        )

    def and_more(self, more: Seen) -> Seen:
        """Return these rows and others, each held out where it was."""
        begin, own, other = len(self.rows), self.folds, more.folds
        if len(own) == len(other):
            added = other
        elif len(own) == 1:
            added = other[:1]
        else:
            train, held = other[0]
            parts = np.array_split(held, len(own))
            rest = [np.concatenate([train, *parts[:k], *parts[k + 1 :]]) for k in range(len(own))]
            added = list(zip(rest, parts, strict=True))
        folds = [
            (np.concatenate([train, begin + new]), np.concatenate([held, begin + out]))
            for (train, held), (new, out) in zip(own, added, strict=True)
        ]
        return Seen(Encoded.stack([self.rows, more.rows]), folds)


def _copies(part: Rows, place: Rows) -> Rows:
    """Return where the copies of some rows stand."""
    return np.flatnonzero(np.isin(place, part))
