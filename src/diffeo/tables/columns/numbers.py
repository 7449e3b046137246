"""Continuous numbers: state 0 is any number within the bounds, an atom is a state of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffeo.tables.columns.coding import Coding, State, Value, numeric_states
from diffeo.tables.frames.cells import Cells, Sort, coarser
from diffeo.tables.variable import numbers_of


@dataclass(frozen=True)
class NumberCoding(Coding):
    """The number as it is (kinds continuous, positive, bounded).

    Args:
        variable: with its bounds and atoms.
        sort: what cells are written: float, whole (rounded) or decimal (rounded).
        decimals: of a decimal.
        precision: of the floats that the column had.
    """

    sort: Sort = "float"
    decimals: int = 0
    precision: str = "float64"

    def encode(self, cells: Cells) -> tuple[State, Value]:
        """Return state and value of each cell."""
        self.refuse(cells, "float", "whole", "decimal")
        if cells.sort not in ("float", "whole", "decimal"):  # nothing but missing cells
            numbers = np.full(len(cells), np.nan)
        else:
            numbers = self._settled(cells.numbers(), coarser(self.precision, cells.precision))
        state, value = numeric_states(self.variable, numbers, np.isfinite(numbers))
        return self.with_missing(state, value, cells.missing)

    def _settled(self, numbers: Value, precision: str) -> Value:
        """Return numbers in which those that ``precision`` cannot tell from an atom or a bound are these.

        0.1 of float32 is another float64 than 0.1, and larger.
        """
        if precision == "float64":
            return numbers
        with np.errstate(over="ignore"):
            coarse = numbers.astype(precision)
            for mark in (*self.variable.atoms, self.variable.low, self.variable.high):
                if mark is None:
                    continue
                near = np.float64(mark).astype(precision)
                if np.isfinite(near):
                    numbers = np.where(coarse == near, mark, numbers)
        return numbers

    def decode(self, state: State, value: Value) -> Cells:
        """Return the numbers."""
        numbers, gone = numbers_of(self.variable, state, value), self.gone(state)
        if self.sort == "float":
            return Cells("float", np.where(gone, np.nan, numbers), gone)
        units = np.rint(np.where(gone, 0.0, numbers) * 10.0**self.decimals)
        return Cells(
            self.sort, np.clip(units, -(2.0**62), 2.0**62).astype(np.int64), gone, decimals=self.decimals
        )
