"""Numbers on a lattice: integers, counts, and decimals that were rounded.

A number is m / 10^decimals with a whole m, and m = first + k · step: this arithmetic is exact, so that a
value comes back as the very number that was read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.columns.coding import Coding, State, Value, numeric_states
from diffeo.tables.frames.cells import EXACT, Cells, Sort
from diffeo.tables.variable import numbers_of


@dataclass(frozen=True)
class LatticeCoding(Coding):
    """A number of a lattice (kinds integer, count, rounded).

    Args:
        variable: with its lattice, bounds and atoms.
        sort: what cells are written: float, whole or decimal.
        decimals: numbers are multiples of 10^−decimals.
        first: the smallest number, in these units.
        step: the spacing, in these units.
        snap: a number between two of the lattice is taken as the nearer one; else it is impossible.
    """

    sort: Sort = "float"
    decimals: int = 0
    first: int = 0
    step: int = 1
    snap: bool = False

    def encode(self, cells: Cells) -> tuple[State, Value]:
        """Return state and value of each cell."""
        self.refuse(cells, self.sort, "float", "whole", "decimal")
        if cells.sort not in ("float", "whole", "decimal"):  # nothing but missing cells
            return self.with_missing(
                np.zeros(len(cells), np.int64), np.full(len(cells), np.nan), cells.missing
            )
        units, on = lattice_units(cells, self.decimals)
        if self.snap:
            numbers = np.where(np.isfinite(cells.content) & ~cells.missing, cells.numbers(), np.nan)
            with np.errstate(over="ignore"):
                near = np.rint(numbers * 10.0**self.decimals)
            on = np.abs(near) <= EXACT
            units = self._nearest(np.where(on, near, 0.0)).astype(np.float64)
        else:
            on &= (units.astype(np.int64) - self.first) % self.step == 0
        numbers = np.where(on, units / 10.0**self.decimals, np.nan)
        state, value = numeric_states(self.variable, numbers, on)
        return self.with_missing(state, value, cells.missing)

    def moved(self, cells: Cells, value: Value) -> NDArray[np.bool_]:
        """Return which numbers lie between two of the lattice."""
        if not self.snap or cells.sort not in ("float", "whole", "decimal"):
            return super().moved(cells, value)
        given = cells.numbers().astype(cells.precision)
        return np.isfinite(value) & (value.astype(cells.precision) != given)

    def _nearest(self, units: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the units of the lattice that are nearest to whole numbers of them."""
        steps = (units.astype(np.int64) - self.first + self.step // 2) // self.step
        return self.first + steps * self.step

    def decode(self, state: State, value: Value) -> Cells:
        """Return the numbers of the lattice that are nearest."""
        gone = self.gone(state)
        numbers = np.where(gone, 0.0, numbers_of(self.variable, state, value))
        units = self._nearest(np.clip(np.rint(numbers * 10.0**self.decimals), -(2.0**60), 2.0**60))
        if self.sort == "float":
            return Cells("float", np.where(gone, np.nan, units / 10.0**self.decimals), gone)
        return Cells(self.sort, units, gone, decimals=self.decimals)


def lattice_units(cells: Cells, decimals: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each number in units of 10^−decimals (0 where it is none), and whether it is exactly that.

    A float is a multiple if dividing the whole number by 10^decimals gives the float to its last bit, in
    the precision in which it was stored: so is every decimal that was read from text, since division
    rounds once.

    >>> units, on = lattice_units(Cells("float", np.array([0.1, 0.25, 7.0]), np.zeros(3, bool)), 1)
    >>> units.tolist(), on.tolist()
    ([1.0, 0.0, 70.0], [True, False, True])
    """
    numbers = cells.numbers()
    with np.errstate(over="ignore", invalid="ignore"):
        units = np.rint(numbers * 10.0**decimals)
        back = (units / 10.0**decimals).astype(cells.precision)
        on = (back == numbers.astype(cells.precision)) & (np.abs(units) <= EXACT)
    return np.where(on, units, 0.0), on
