"""What a density of any table is a density of: variables with states, and rows encoded by them.

A cell of a table is in one *state*: it holds a number (state 0 of a numeric variable), one of its levels (a
category, or an atom: a number that has a probability of its own), or nothing (the last state, of a variable
that may be missing). State 0 and the atoms carry a *value*.

A density p is one with respect to counting measure on the states times, in state 0, Lebesgue measure in the
column's units (``lattice == 0``) or counting measure on the numbers ``origin + k · lattice``:

    Σ_states ∫ p(state, value) d(value) = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, ShapeError, at_least, flag, number


@dataclass(frozen=True)
class Variable:
    """How one column is modelled: its states, and the number that state 0 carries.

    States are numbered: the number (0, if ``numeric``), then the levels, then missing. All fields are plain
    values, so that ``dataclasses.asdict`` goes into a file and ``Variable(**…)`` comes out of one.

    Args:
        name: the column.
        levels: states besides number and missing: categories, or atoms.
        numeric: state 0 carries a number.
        lattice: 0 if the number is continuous; else the spacing of its possible values.
        origin: possible numbers are ``origin + k * lattice`` for whole k.
        low: bound of the number (inclusive), None where it has none.
        high: as ``low``, from above.
        atoms: the numbers that the levels stand for, of a numeric variable; () for categories.
        missing: the last state is "missing".
        ordered: the levels are ordered.

    Raises:
        ConfigError: a value is not allowed, or there is no state.

    >>> rain = Variable("rain", levels=1, numeric=True, low=0.0, atoms=(0.0,), missing=True)
    >>> rain.states, rain.plain
    (3, False)
    >>> Variable("height", levels=0, numeric=True).plain
    True
    """

    name: str
    levels: int
    numeric: bool = False
    lattice: float = 0.0
    origin: float = 0.0
    low: float | None = None
    high: float | None = None
    atoms: tuple[float, ...] = ()
    missing: bool = False
    ordered: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"name={self.name!r:.80} must be text, as 'width'.")
        at_least("levels", self.levels, 0)
        for argument in ("numeric", "missing", "ordered"):
            flag(argument, getattr(self, argument))
        number("lattice", self.lattice, least=0)
        number("origin", self.origin)
        number("low", self.low, optional=True)
        number("high", self.high, optional=True)
        object.__setattr__(self, "atoms", tuple(self.atoms))
        for atom in self.atoms:
            number("atoms", atom)
        self._check_together()

    def _check_together(self) -> None:
        if self.states == 0:
            raise ConfigError(
                f"variable {self.name!r} has no state; expected numeric, levels or missing: set one."
            )
        if self.numeric and len(self.atoms) != self.levels:
            raise ConfigError(
                f"variable {self.name!r} has {self.levels} levels and {len(self.atoms)} atoms; expected "
                "an atom for each level of a numeric variable: give the numbers that the levels stand for."
            )
        if not self.numeric and (self.atoms or self.lattice):
            raise ConfigError(
                f"variable {self.name!r} has atoms or a lattice but is not numeric; set numeric=True, or "
                "give neither."
            )
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ConfigError(
                f"low={self.low!r} must be below high={self.high!r} (variable {self.name!r})."
            )

    @property
    def states(self) -> int:
        """Return in how many states a cell can be."""
        return int(self.numeric) + self.levels + int(self.missing)

    @property
    def plain(self) -> bool:
        """Return whether the column is complete and continuous: a number in every row, without atoms."""
        return self.numeric and not self.levels and not self.missing and self.lattice == 0

    def steps(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return k of each number ``origin + k * lattice``, a whole number (NaN stays NaN).

        >>> Variable("price", 0, numeric=True, lattice=0.25, origin=1.0).steps(np.array([1.0, 2.5, np.nan]))
        array([ 0.,  6., nan])
        """
        return np.rint((values - self.origin) / self.lattice)


@dataclass(frozen=True)
class Encoded:
    """Rows as the density sees them.

    Attributes:
        state: int64 (rows, columns); −1 is impossible under the schema, and has density 0.
        value: float64 (rows, columns); NaN where the state carries no number.

    Raises:
        ShapeError: the two are not of one shape (rows, columns).

    >>> rows = Encoded(np.array([[0, 1], [0, 0]]), np.array([[1.5, np.nan], [2.5, np.nan]]))
    >>> len(rows), rows.rows([1]).value.tolist(), rows.columns([1]).state.tolist()
    (2, [[2.5, nan]], [[1], [0]])
    """

    state: NDArray[np.int64]
    value: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", np.asarray(self.state, dtype=np.int64))
        object.__setattr__(self, "value", np.asarray(self.value, dtype=np.float64))
        if self.state.ndim != 2 or self.state.shape != self.value.shape:
            raise ShapeError(
                f"state has shape {self.state.shape} and value {self.value.shape}; expected one shape "
                "(rows, columns): give both for the same cells."
            )

    def __len__(self) -> int:
        return len(self.state)

    def rows(self, index: Any) -> Encoded:
        """Return the rows that ``index`` (a slice, whole numbers or booleans) selects."""
        return Encoded(self.state[index], self.value[index])

    def columns(self, index: Any) -> Encoded:
        """Return the columns that ``index`` (a slice, whole numbers or booleans) selects."""
        return Encoded(self.state[:, index], self.value[:, index])

    @classmethod
    def join(cls, parts: Sequence[Encoded]) -> Encoded:
        """Return the columns of ``parts`` side by side.

        >>> part = Encoded(np.array([[0]]), np.array([[1.5]]))
        >>> Encoded.join([part, part]).state.shape
        (1, 2)
        """
        return cls(
            np.concatenate([part.state for part in parts], axis=1),
            np.concatenate([part.value for part in parts], axis=1),
        )

    @classmethod
    def stack(cls, parts: Sequence[Encoded]) -> Encoded:
        """Return the rows of ``parts`` one after another.

        >>> part = Encoded(np.array([[0]]), np.array([[1.5]]))
        >>> Encoded.stack([part, part]).state.shape
        (2, 1)
        """
        return cls(
            np.concatenate([part.state for part in parts]), np.concatenate([part.value for part in parts])
        )


def check_encoded(variables: Sequence[Variable], encoded: Encoded) -> None:
    """Raise :class:`ShapeError` unless ``encoded`` has a column for each of ``variables``."""
    if encoded.state.shape[1] != len(variables):
        raise ShapeError(
            f"encoded has {encoded.state.shape[1]} columns; expected {len(variables)}, one a variable."
        )


def numbers_of(
    variable: Variable, state: NDArray[np.int64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the number of each cell: its value in state 0, the atom in an atom's state, else NaN.

    >>> rain = Variable("rain", levels=1, numeric=True, atoms=(0.0,), missing=True)
    >>> numbers_of(rain, np.array([0, 1, 2]), np.array([3.5, np.nan, np.nan])).tolist()
    [3.5, 0.0, nan]
    """
    if not variable.numeric:
        return np.full(state.shape, math.nan)
    table = np.array([math.nan, *variable.atoms, math.nan, math.nan])  # at −1 too: NaN
    return np.where(state == 0, value, table[np.clip(state, -1, variable.levels + 1)])
