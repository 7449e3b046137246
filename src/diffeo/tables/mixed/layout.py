"""Where things stand: a row of columns packed as numbers, what a network is shown of it, and asked for.

A packed row holds, column after column: its state, where it has more than one; its number u, where that is
continuous; the ends of its cell and the cell's width, where its numbers form a lattice. All numbers are in
Gaussianised units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diffeo.errors import ConfigError, at_least

#: States that are shown one-hot; a column of more has a learned code of this length.
ONE_HOT = 32

#: What is shown of a number: itself, and sine and cosine of its multiples by these.
WAVES = (1.0, 2.0, 4.0)
SHOWN = 1 + 2 * len(WAVES)


@dataclass(frozen=True)
class Layout:
    """The places of packed rows, of a network's inputs and of its outputs.

    Args:
        states: the number of states of each column.
        numeric: whether state 0 carries a number.
        lattice: whether that number is one of a lattice.
        components: of the mixture of a number.

    >>> layout = Layout((3, 1, 1), (False, True, True), (False, False, True), 2)
    >>> layout.width, layout.state_at, layout.number_at, layout.cell_at
    (5, (0, 5, 5), (1,), (2,))
    >>> layout.outputs, layout.logits_of(0), layout.numbers_of(2)
    (15, (0, 3), (9, 15))
    """

    states: tuple[int, ...]
    numeric: tuple[bool, ...]
    lattice: tuple[bool, ...]
    components: int
    width: int = field(init=False)
    #: Place of each column's state; ``width``, one beyond, for columns of one state.
    state_at: tuple[int, ...] = field(init=False)
    #: Columns of continuous numbers, and of lattices; their outputs stand in this order.
    continuous: tuple[int, ...] = field(init=False)
    cells: tuple[int, ...] = field(init=False)
    #: Places of u, and of the first of three numbers of a cell.
    number_at: tuple[int, ...] = field(init=False)
    cell_at: tuple[int, ...] = field(init=False)
    #: Columns of more than one state by their number of states: their outputs and inputs stand so.
    groups: tuple[tuple[int, tuple[int, ...]], ...] = field(init=False)

    def __post_init__(self) -> None:
        found: dict[str, Any] = {"continuous": [], "cells": [], "number_at": [], "cell_at": []}
        place, state_at = 0, list[int]()
        for column, count in enumerate(self.states):
            state_at.append(place if count > 1 else -1)
            place += count > 1
            if self.numeric[column]:
                cell = self.lattice[column]
                found["cells" if cell else "continuous"].append(column)
                found["cell_at" if cell else "number_at"].append(place)
                place += 3 if cell else 1
        sizes = sorted({count for count in self.states if count > 1})
        groups = [(size, tuple(j for j, s in enumerate(self.states) if s == size)) for size in sizes]
        for name, value in found.items():
            object.__setattr__(self, name, tuple(value))
        place = max(place, 1)  # where nothing varies, a number that nothing reads
        object.__setattr__(self, "width", place)
        object.__setattr__(self, "state_at", tuple(place if at < 0 else at for at in state_at))
        object.__setattr__(self, "groups", tuple(groups))

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the numeric columns in the order of their outputs."""
        return self.continuous + self.cells

    @property
    def all_logits(self) -> int:
        """Return the number of logits of states, which stand before the parameters of mixtures."""
        return sum(size * len(columns) for size, columns in self.groups)

    @property
    def outputs(self) -> int:
        """Return the number of outputs."""
        return self.all_logits + 3 * self.components * len(self.numbers)

    def wanted(self) -> list[int]:
        """Return the column of each output."""
        logits = [column for size, columns in self.groups for column in columns for _ in range(size)]
        return logits + [column for column in self.numbers for _ in range(3 * self.components)]

    def shown(self) -> list[int]:
        """Return the column of each input: states by group, then numbers."""
        states = [column for size, columns in self.groups for column in columns for _ in range(coded(size))]
        return states + [column for column in self.numbers for _ in range(SHOWN)]

    def logits_of(self, column: int) -> tuple[int, int]:
        """Return where the logits of a column of more than one state start and stop."""
        start = 0
        for size, columns in self.groups:
            if column in columns:
                start += size * columns.index(column)
                return start, start + size
            start += size * len(columns)
        raise KeyError(column)

    def numbers_of(self, column: int) -> tuple[int, int]:
        """Return where the parameters of a numeric column's mixture start and stop."""
        size = 3 * self.components
        start = self.all_logits + size * self.numbers.index(column)
        return start, start + size


def coded(states: int) -> int:
    """Return how many inputs show a state."""
    return min(states, ONE_HOT)


def checked(states: Any, numeric: Any, lattice: Any, components: int) -> Layout:
    """Return the layout of columns, or say what is wrong with their description.

    Raises:
        ConfigError: the lists have different lengths or none, or hold other things than counts and flags.
    """
    lists: dict[str, Sequence[Any]] = {"states": states, "numeric": numeric, "lattice": lattice}
    for name, given in lists.items():
        if not isinstance(given, list | tuple) or len(given) != len(states) or not len(given):
            raise ConfigError(
                f"{name}={given!r:.80} must be a list with an entry for each of the columns, of which "
                "there is at least one; expected states, numeric and lattice of one length."
            )
    for count in states:
        at_least("states", count, 1)
    for name in ("numeric", "lattice"):
        if not all(isinstance(flag, bool) for flag in lists[name]):
            raise ConfigError(f"{name}={lists[name]!r:.80} must hold True or False for each column.")
    if any(cell and not number for cell, number in zip(lattice, numeric, strict=True)):
        raise ConfigError(
            f"lattice={lattice!r:.80} is True for a column that numeric={numeric!r:.80} gives no numbers; "
            "expected a lattice for numeric columns only."
        )
    at_least("components", components, 1)
    return Layout(tuple(states), tuple(numeric), tuple(lattice), components)
