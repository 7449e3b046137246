"""The rows that a fit learns from: weighted, split, and joined by more, no row on both sides of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from diffeo.estimator.folds import MOST_HELD, Fold, Rows, folds_of
from diffeo.tables.variable import Encoded, Variable

#: Multiplied by it modulo 2⁶⁴, the bits of a cell are spread over a hash (it is one of SplitMix64's).
_ODD = np.uint64(0xBF58476D1CE4E5B9)

#: Rows that stand more often than this on average are not written twice: they are states of few kinds.
_COPIES = 10


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
        cls,
        rows: Encoded,
        index: Rows | None,
        seed: int,
        splits: int = 5,
        most: int = MOST_HELD,
        copies: Rows | None = None,
    ) -> Self:
        """Split rows, few of them in so many folds, and then repeat them as ``index`` says.

        Of many rows no more than ``most`` are held out, copies of one counted once. ``copies`` has for
        each row the first that is like it, as :func:`copies_of` finds.

        >>> one = Encoded(np.zeros((4, 1), np.int64), np.full((4, 1), np.nan))
        >>> seen = Seen.of(one, np.array([0, 0, 1, 2, 3]), seed=0)
        >>> all(({0, 1} <= set(train)) or ({0, 1} <= set(held)) for train, held in seen.folds)
        True
        """
        if index is not None:
            rows = rows.rows(index)
        like = index if copies is None else copies if index is None else copies[index]
        if like is None:
            return cls(rows, folds_of(len(rows), seed, splits, most))
        used, place = np.unique(like, return_inverse=True)
        folds = folds_of(len(used), seed, splits, most)
        return cls(rows, [(_copies(train, place), _copies(held, place)) for train, held in folds])

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


def copies_of(rows: Encoded, continuous: Sequence[int]) -> Rows | None:
    """Return for each row the first that is the same in every cell, or None where that is each itself.

    Two rows of the same continuous numbers are one row that was written twice: held-out figures would
    praise a density for knowing it by heart. A row without a number in a column of ``continuous`` (all of
    them are states there) is as often as it is likely, and nobody's copy. None is returned too where a row
    stands more than ten times on average.

    >>> twice = Encoded(np.zeros((3, 1), np.int64), np.array([[1.5], [2.5], [1.5]]))
    >>> copies_of(twice, [0])
    array([0, 1, 0])
    """
    at = np.flatnonzero(has_number(rows, continuous))
    first = _first_alike(rows.rows(at))
    distinct = len(np.unique(first))
    if not max(2, len(at) / _COPIES) <= distinct < len(at):
        return None
    like = np.arange(len(rows))
    like[at] = at[first]
    return like


def continuous_of(variables: Sequence[Variable]) -> list[int]:
    """Return the columns whose numbers are continuous, holes and atoms among them or not."""
    return [k for k, variable in enumerate(variables) if variable.numeric and variable.lattice == 0]


def has_number(rows: Encoded, continuous: Sequence[int]) -> NDArray[np.bool_]:
    """Return for each row whether a column of ``continuous`` holds a number there, and no atom or hole."""
    return (rows.state[:, list(continuous)] == 0).any(axis=1)


def _first_alike(rows: Encoded) -> Rows:
    """Return for each row the first that is the same in every cell."""
    found = np.zeros(len(rows), np.uint64)
    for state, value in zip(rows.state.T, rows.value.T, strict=True):
        numbers = np.where(np.isnan(value), np.nan, value + 0.0).view(np.uint64)  # one NaN, one zero
        for cells in (state.astype(np.uint64), numbers):
            found = (found ^ cells) * _ODD
            found ^= found >> np.uint64(29)
    _, first, place = np.unique(found, return_index=True, return_inverse=True)
    return first[place]


def _copies(part: Rows, place: Rows) -> Rows:
    """Return where the copies of some rows stand."""
    return np.flatnonzero(np.isin(place, part))
