"""How the cells of a column become states and values, and back: one class for each way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.tables.frames.cells import Cells
from diffeo.tables.variable import Variable

State = NDArray[np.int64]
Value = NDArray[np.float64]

#: The state of a cell that the schema says cannot be.
IMPOSSIBLE = -1


@dataclass(frozen=True)
class Coding(ABC):
    """From cells to states and values, and back."""

    variable: Variable

    @abstractmethod
    def encode(self, cells: Cells) -> tuple[State, Value]:
        """Return state and value of each cell; an impossible one has state −1."""

    @abstractmethod
    def decode(self, state: State, value: Value) -> Cells:
        """Return the cells that states and values stand for."""

    def moved(self, cells: Cells, value: Value) -> NDArray[np.bool_]:
        """Return which cells were encoded as a number that is not theirs, but the nearest one possible."""
        return np.zeros(len(cells), dtype=bool)

    def with_missing(self, state: State, value: Value, missing: NDArray[np.bool_]) -> tuple[State, Value]:
        """Return states and values in which missing cells are so: in the last state, or impossible."""
        gone = self.variable.states - 1 if self.variable.missing else IMPOSSIBLE
        state = np.where(missing, gone, state)
        return state, np.where(missing | (state == IMPOSSIBLE), np.nan, value)

    def gone(self, state: State) -> NDArray[np.bool_]:
        """Return which states mean "missing"."""
        return (state == self.variable.states - 1) & self.variable.missing

    def refuse(self, cells: Cells, *sorts: str) -> None:
        """Raise :class:`DataError` unless the cells are of one of these sorts, or all missing."""
        if cells.sort not in sorts and not cells.missing.all():
            raise DataError(
                f"column {self.variable.name!r} now holds {_MEANING[cells.sort]}, as "
                f"{cells.sample(~cells.missing)}; expected {_MEANING[sorts[0]]}, as when the schema was "
                "made: convert it."
            )

    def refuse_zone(self, cells: Cells, zoned: bool | None) -> None:
        """Raise :class:`DataError` if times have a time zone and had none before, or the other way round.

        A civil time and an instant cannot be compared. Where ``zoned`` is None it is not known.
        """
        if cells.sort != "datetime" or zoned in (None, cells.zoned) or cells.missing.all():
            return
        name, shown = self.variable.name, cells.sample(~cells.missing)
        if zoned:
            raise DataError(
                f"column {name!r} now holds times without a time zone, as {shown}; expected times with "
                "one, as when the schema was made: say of which zone they are, with .dt.tz_localize(zone) "
                "in pandas, .dt.replace_time_zone(zone) in polars, or in text by their offset, as "
                "2024-03-01T09:30+01:00."
            )
        raise DataError(
            f"column {name!r} now holds times with a time zone, as {shown} UTC; expected times without "
            "one, as when the schema was made: turn them into the civil time that it had, with "
            ".dt.tz_convert(zone).dt.tz_localize(None) in pandas, "
            ".dt.convert_time_zone(zone).dt.replace_time_zone(None) in polars."
        )


_MEANING = {
    "float": "numbers",
    "whole": "whole numbers",
    "decimal": "decimals",
    "datetime": "dates or times",
    "duration": "lengths of time",
    "label": "text, categories or truth values",
}


def atoms_of(variable: Variable, numbers: Value) -> State:
    """Return the level of each number that is an atom, else −1.

    >>> atoms_of(Variable("a", 2, numeric=True, atoms=(0.0, 9.0)), np.array([9.0, 1.0, np.nan])).tolist()
    [1, -1, -1]
    """
    if not variable.atoms:
        return np.full(len(numbers), -1, dtype=np.int64)
    order = np.argsort(variable.atoms)
    atoms = np.array(variable.atoms)[order]
    place = np.minimum(np.searchsorted(atoms, numbers), len(atoms) - 1)
    return np.where(atoms[place] == numbers, order[place], -1).astype(np.int64)


def numeric_states(variable: Variable, numbers: Value, possible: NDArray[np.bool_]) -> tuple[State, Value]:
    """Return states and values of numbers: atoms first, then state 0 within the bounds, these included."""
    level = atoms_of(variable, numbers)
    if variable.low is not None:
        possible = possible & (numbers >= variable.low)
    if variable.high is not None:
        possible = possible & (numbers <= variable.high)
    state = np.where(level >= 0, level + 1, np.where(possible, 0, IMPOSSIBLE))
    return state, numbers
