"""What the discrete and incomplete columns show to the densities of the others: plain numbers.

p(row) = p(a) · p(b | a), where b are the complete continuous columns. The members of p(b | a) read a as a
vector: for a column with a number the number, robustly standardised and clamped (0 where there is none);
for its states an indicator each, of the most frequent ones, and one indicator for all others.

A density may use any function of a, so nothing that is left out here costs exactness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.variable import Encoded, Variable

#: Indicators of one column, and of all columns together.
_MOST_STATES, _MOST_FEATURES = 32, 256

#: Standardised numbers are clamped here: a far outlier must not steer a network by its size.
_CLAMP = 4.0


@dataclass(frozen=True)
class ColumnFeatures:
    """The features of one column: which states have an indicator, and how its number is standardised."""

    states: tuple[int, ...]
    others: bool
    numeric: bool
    centre: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Return how many numbers the column becomes."""
        return len(self.states) + self.others + self.numeric

    @classmethod
    def of(
        cls, variable: Variable, state: NDArray[np.int64], value: NDArray[np.float64], most: int
    ) -> Self:
        """Return the features of a column, read off training rows."""
        counts = np.bincount(state[state >= 0], minlength=variable.states)
        frequent = np.argsort(-counts, kind="stable")[: max(most, 1)]
        kept = tuple(sorted(int(s) for s in frequent if counts[s]))
        if len(kept) == 1 and counts[kept[0]] == len(state):
            kept = ()  # one state in all rows says nothing
        others = bool(kept) and bool(counts.sum() > counts[list(kept)].sum())
        numbers = value[np.isfinite(value)]
        if not variable.numeric or not numbers.size:
            return cls(kept, others, numeric=False)
        size = float(np.abs(numbers).max()) or 1.0
        low, centre, high = np.quantile(numbers / size, (0.1, 0.5, 0.9)) * size
        spread = high / 2.56 - low / 2.56 or float((numbers / size).std()) * size or 1.0
        return cls(kept, others, numeric=True, centre=float(centre), scale=float(spread))

    def __call__(self, state: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the features of rows, (rows, width)."""
        parts = [(state == s).astype(np.float64) for s in self.states]
        if self.others:
            parts.append(1.0 - np.sum(parts, axis=0))
        if self.numeric:
            known = np.isfinite(value)
            standard = (np.where(known, value, self.centre) / self.scale) - self.centre / self.scale
            parts.append(np.clip(np.where(known, standard, 0.0), -_CLAMP, _CLAMP))
        return np.stack(parts, -1) if parts else np.zeros((len(state), 0))


@dataclass(frozen=True)
class Features:
    """a as a vector of numbers, for all its columns.

    >>> rows = Encoded(np.array([[0], [1], [1]]), np.full((3, 1), np.nan))
    >>> Features.of([Variable("sex", levels=2)], rows)(rows)
    array([[1., 0.],
           [0., 1.],
           [0., 1.]])
    """

    columns: tuple[ColumnFeatures, ...]

    @classmethod
    def of(cls, variables: Sequence[Variable], rows: Encoded) -> Self:
        """Read the features off training rows."""
        each = max(1, min(_MOST_STATES, _MOST_FEATURES // max(len(variables), 1) - 2))
        return cls(
            tuple(
                ColumnFeatures.of(variable, rows.state[:, j], rows.value[:, j], each)
                for j, variable in enumerate(variables)
            )
        )

    @property
    def width(self) -> int:
        """Return how many numbers a row becomes."""
        return sum(column.width for column in self.columns)

    def __call__(self, rows: Encoded) -> NDArray[np.float64]:
        """Return the numbers of rows, (rows, width)."""
        parts = [column(rows.state[:, j], rows.value[:, j]) for j, column in enumerate(self.columns)]
        return np.concatenate(parts, -1) if parts else np.zeros((len(rows), 0))

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain values for a file."""
        return [{**vars(column), "states": list(column.states)} for column in self.columns]

    @classmethod
    def from_json(cls, saved: Sequence[dict[str, Any]]) -> Self:
        """Return the features that a file holds."""
        columns = list[ColumnFeatures]()
        for each in saved:
            told: dict[str, Any] = {**each, "states": tuple(each["states"])}
            columns.append(ColumnFeatures(**told))
        return cls(tuple(columns))
