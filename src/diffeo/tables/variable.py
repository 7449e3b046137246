"""What stands between a table and its density: for every modelled column a state, and perhaps a value.

A row of mixed columns is encoded as pairs (state, value). The state is one of finitely many; state 0 of a
numeric column says that there is a value, its other states are atoms (a value of positive mass, as zero in
a zero-inflated column) and "missing". The density is taken with respect to counting measure for states and
whole numbers, and to Lebesgue measure for the other values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, ShapeError, at_least, flag
from diffeo.registry import register

#: The state of what the model holds impossible: its row has log p = −∞.
IMPOSSIBLE = -1


@register("tables.Variable")
@dataclass(frozen=True)
class Variable:
    """What a density needs to know of one column.

    Args:
        name: the name of the column.
        states: the number of its discrete states, at least 1.
        numeric: whether state 0 means "there is a value", its other states being atoms and "missing";
            otherwise every state is an outcome, and there are no values.
        lattice: whether values are whole numbers k, of which the density is the mass of [k − ½, k + ½].
        low: the lower end of the values, in their unit. Without a lattice they lie in the open interval
            (low, high); with one, low is the first index, whose cell reaches to −∞. None: −∞.
        high: the upper end, likewise (+∞).

    Raises:
        ConfigError: an argument is out of range, or the interval is empty.

    >>> Variable("rain", states=2, low=0.0)
    Variable(name='rain', states=2, numeric=True, lattice=False, low=0.0, high=None)
    """

    name: str
    states: int = 1
    numeric: bool = True
    lattice: bool = False
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"name={self.name!r} must be text, as 'width'.")
        at_least("states", self.states, 1)
        flag("numeric", self.numeric)
        flag("lattice", self.lattice)
        given = f"column {self.name!r} has lattice={self.lattice}, low={self.low!r}, high={self.high!r}"
        ends = [end for end in (self.low, self.high) if end is not None]
        if not self.numeric and (self.lattice or ends):
            raise ConfigError(
                f"{given} with numeric=False; expected none: without values there is no range."
            )
        if not all(_is_end(end, self.lattice) for end in ends):
            kind = "whole numbers" if self.lattice else "finite numbers"
            raise ConfigError(f"{given}; expected {kind} at the ends, or None for no bound.")
        if len(ends) == 2 and not (ends[0] < ends[1] or (self.lattice and ends[0] == ends[1])):
            raise ConfigError(f"{given}; expected low below high: exchange them.")


def _is_end(end: Any, lattice: bool) -> bool:
    number = isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end)
    return number and (not lattice or float(end).is_integer())


@dataclass
class Encoded:
    """Rows of a table as states and values, one column for each :class:`Variable`.

    Attributes:
        state: int64 (rows, columns); ``-1`` where the model holds the entry impossible.
        value: float64 (rows, columns); NaN where there is no value.

    >>> import numpy as np
    >>> rows = Encoded(np.array([[0, 2], [1, 0]]), np.array([[0.5, np.nan], [np.nan, np.nan]]))
    >>> len(rows), rows[1:].state.tolist()
    (2, [[1, 0]])
    """

    state: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        self.state = np.asarray(self.state, dtype=np.int64)
        self.value = np.asarray(self.value, dtype=np.float64)
        if self.state.ndim != 2 or self.state.shape != self.value.shape:
            raise ShapeError(
                f"state has shape {self.state.shape} and value {self.value.shape}; expected both to be "
                "(rows, columns)."
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.state)

    def __getitem__(self, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Encoded:
        """Return some of the rows: a slice, indices or a mask."""
        return Encoded(self.state[rows], self.value[rows])
