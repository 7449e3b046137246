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
        given: how many rows there were before weights repeated them.
    """

    rows: Encoded
    folds: list[Fold]
    given: int = 0

    @classmethod
    def of(
        cls,
        rows: Encoded,
        index: Rows | None,
        seed: int,
        splits: int = 5,
        most: int = MOST_HELD,
        copies: Rows | None = None,
        counted: NDArray[np.bool_] | None = None,
    ) -> Self:
        """Split rows, few of them in so many folds, and then repeat them as ``index`` says.

        Of many rows no more than ``most`` are held out, copies of one counted once. ``copies`` has for
        each row the first that is like it, as :func:`copies_of` finds. Where ``counted`` says so, a row
        that is repeated was seen so often, and each is split by itself.

        >>> one = Encoded(np.zeros((4, 1), np.int64), np.full((4, 1), np.nan))
        >>> seen = Seen.of(one, np.array([0, 0, 1, 2, 3]), seed=0)
        >>> all(({0, 1} <= set(train)) or ({0, 1} <= set(held)) for train, held in seen.folds)
        True
        """
        given = len(rows)
        if index is not None:
            rows = rows.rows(index)
        like = index if copies is None else copies if index is None else copies[index]
        if like is not None and index is not None and counted is not None:
            like = np.where(counted[index], given + np.arange(len(index)), like)
        if like is None:
            return cls(rows, folds_of(len(rows), seed, splits, most), given)
        used, place = np.unique(like, return_inverse=True)
        folds = folds_of(len(used), seed, splits, most)
        own = [(_copies(train, place), _copies(held, place)) for train, held in folds]
        return cls(rows, own, given)

    def and_more(self, more: Seen, continuous: Sequence[int] = ()) -> Seen:
        """Return these rows and others, each held out where it was, or where a row like it is here.

        ``continuous`` are the columns whose numbers tell copies, as of :func:`copies_of`.
        """
        count = len(self.folds)
        added, _ = more._sides_beside(self, count, continuous)
        folds = _folds_of(np.concatenate([self._sides(count), added]), count)
        return Seen(Encoded.stack([self.rows, more.rows]), folds, self.given + more.given)

    def like(self, before: Seen, continuous: Sequence[int]) -> Seen:
        """Return these rows, those that are among ``before`` held out where they were there."""
        one, other = self.rows, before.rows
        if np.array_equal(one.state, other.state) and np.array_equal(
            one.value, other.value, equal_nan=True
        ):
            return Seen(self.rows, before.folds, self.given)
        count = min(len(self.folds), len(before.folds))
        sides, known = self._sides_beside(before, count, continuous)
        folds = _folds_of(sides, count)
        usable = known.any() and all(len(train) and len(held) for train, held in folds)
        return Seen(self.rows, folds, self.given) if usable else self

    def _sides(self, count: int) -> Rows:
        """Return for each row the fold that holds it out, of the first ``count``, or −1."""
        sides = np.full(len(self.rows), -1)
        for fold, (_, held) in enumerate(self.folds[:count]):
            sides[held] = fold
        return sides

    def _sides_beside(
        self, before: Seen, count: int, continuous: Sequence[int]
    ) -> tuple[Rows, NDArray[np.bool_]]:
        """Return in which of ``count`` folds each row is held out beside other rows, and which are known.

        Known is a row whose likes of before are all on one side: it joins them.
        """
        begin, own = len(before.rows), np.arange(len(self.rows))
        stacked = Encoded.stack([before.rows, self.rows])
        at = np.flatnonzero(has_number(stacked, continuous))
        first = np.arange(len(stacked))
        first[at] = at[_first_alike(stacked.rows(at))]
        if len(np.unique(first[begin:])) < self.given / _COPIES:  # states of few kinds
            first = np.arange(len(stacked))
        new = first[begin:]
        if len(self.folds) == count:
            sides = self._sides(count)
        else:  # one split is cut into folds, of folds one is taken
            held = self.folds[0][1]
            _, unit = np.unique(new[held], return_inverse=True)
            sides = np.full(len(own), -1)
            sides[held] = unit % count
        old = before._sides(count)
        lowest, highest = np.full(begin, count), np.full(begin, -1)
        np.minimum.at(lowest, first[:begin], old)
        np.maximum.at(highest, first[:begin], old)
        known = new < begin
        known[known] = (lowest == highest)[new[known]]
        sides[known] = lowest[new[known]]
        return sides, known


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


def _folds_of(sides: Rows, count: int) -> list[Fold]:
    """Return the folds, given which of them holds each row out."""
    return [(np.flatnonzero(sides != k), np.flatnonzero(sides == k)) for k in range(count)]


def _copies(part: Rows, place: Rows) -> Rows:
    """Return where the copies of some rows stand."""
    return np.flatnonzero(np.isin(place, part))
