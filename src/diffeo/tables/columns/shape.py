"""What the values of a numeric column show: values that are atoms, bounds, and the decimals they were
rounded to.

Each rule errs on the side that costs little. A bound that is missed costs a fraction of a nat; one that is
not there gives the first row beyond it density 0. An atom that is missed lets a density grow without bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.columns.lattices import lattice_units
from diffeo.tables.frames.cells import Cells

#: A column of at most so many different values has all of them as atoms.
FEW = 20
#: No column has more atoms.
MOST_ATOMS = 64
#: Rows from which bounds are believed.
_ROWS_FOR_BOUNDS = 50
#: Decimals that are tried.
_MOST_DECIMALS = 9
#: Bounds that quantities have: shares, correlations, per cent, angles.
_INTERVALS = (
    (0.0, 1.0),
    (-1.0, 1.0),
    (0.0, 100.0),
    (-math.pi, math.pi),
    (0.0, 2 * math.pi),
    (0.0, 360.0),
    (-180.0, 180.0),
    (-90.0, 90.0),
)


@dataclass(frozen=True)
class Tally:
    """The different values of a column in order, and in how many rows each is."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, numbers: NDArray[np.float64]) -> Tally:
        """Return the tally of ``numbers``, NaN left out."""
        values, counts = np.unique(numbers[~np.isnan(numbers)], return_counts=True)
        return cls(values, counts.astype(np.int64))

    @property
    def rows(self) -> int:
        """Return how many rows hold a number."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Return the smallest value that at least this share of the rows do not exceed."""
        at = int(np.searchsorted(np.cumsum(self.counts), share * self.rows))
        return float(self.values[min(at, len(self.values) - 1)])


def continuous_atoms(tally: Tally) -> tuple[float, ...]:
    """Return the values of a continuous column that have a probability of their own.

    A value in at least 2 % of the rows (and 5 rows) that is ten times as frequent as the median value; all
    of at most 20 values of five rows each on average.

    >>> numbers = np.concatenate([np.zeros(30), np.linspace(1, 2, 70)])
    >>> continuous_atoms(Tally.of(numbers))
    (0.0,)
    """
    distinct = len(tally.values)
    if distinct <= FEW and tally.rows >= 5 * distinct:
        return tuple(tally.values.tolist())
    least = max(0.02 * tally.rows, 5.0, 10.0 * float(np.median(tally.counts)))
    return _most_frequent(tally, least)


def end_atoms(tally: Tally, atoms: tuple[float, ...]) -> tuple[float, ...]:
    """Return the atoms at an end of the column that are bounds: numbers of at most two digits, as 0 or 50.

    Other numbers at an end, of a standardised column say, have been seen with rows beyond them.

    >>> end_atoms(Tally.of(np.array([0.0, 0.5, 50.0])), (0.0, 50.0))
    (0.0, 50.0)
    """
    ends = (float(tally.values[0]), float(tally.values[-1]))
    return tuple(end for end in ends if end in atoms and float(f"{end:.2g}") == end)


def frequent_ends(tally: Tally, atoms: tuple[float, ...]) -> tuple[float, ...]:
    """Return the ends of the column that are in more rows, and two, than any number between has.

    One row at an end, as where a column was scaled to [0, 1], says nothing of a probability there; nor do a
    few, where rows were drawn with replacement and other numbers are in as many. ``atoms`` are not such.

    >>> frequent_ends(Tally.of(np.array([0.0, 0.0, 0.3, 0.6, 1.0])), ())
    (0.0,)
    """
    between = tally.counts[1:-1][~np.isin(tally.values[1:-1], atoms)]
    least = int(between.max(initial=1))
    ends = ((float(tally.values[at]), int(tally.counts[at])) for at in (0, -1))
    return tuple(value for value, count in ends if count > least)


def lattice_atoms(tally: Tally) -> tuple[float, ...]:
    """Return the values of a lattice that get a level: all of at most 20, else those in 1 % of the rows.

    >>> lattice_atoms(Tally.of(np.arange(6.0) % 3))
    (0.0, 1.0, 2.0)
    """
    if len(tally.values) <= FEW:
        return tuple(tally.values.tolist())
    return _most_frequent(tally, max(0.01 * tally.rows, 2.0))


def _most_frequent(tally: Tally, least: float) -> tuple[float, ...]:
    frequent = np.flatnonzero(tally.counts >= least)
    chosen = frequent[np.argsort(-tally.counts[frequent], kind="stable")[:MOST_ATOMS]]
    return tuple(tally.values[np.sort(chosen)].tolist())


def interval(tally: Tally) -> tuple[float, float] | None:
    """Return the known bounds that the column keeps and comes close to: 1 % of its rows, and 3, near each
    one.

    >>> interval(Tally.of(np.linspace(0.001, 0.999, 100))), interval(Tally.of(np.linspace(0.3, 0.7, 100)))
    ((0.0, 1.0), None)
    """
    if tally.rows < _ROWS_FOR_BOUNDS:
        return None
    least, most = tally.values[0], tally.values[-1]
    for low, high in _INTERVALS:
        margin = 0.05 * (high - low)
        if not low <= least <= low + margin or not high - margin <= most <= high:
            continue
        near_low = tally.counts[tally.values <= low + margin].sum()
        near_high = tally.counts[tally.values >= high - margin].sum()
        if min(near_low, near_high) >= max(0.01 * tally.rows, 3):
            return low, high
    return None


def near_limits(tally: Tally, limits: tuple[int, int] | None) -> tuple[float | None, float | None]:
    """Return the limits of a type of integers that the numbers come as near to as they are far apart.

    What lies beyond cannot be written, so that its probability is that of the limit.

    >>> near_limits(Tally.of(np.array([3.0, 9.0])), (0, 255))
    (0.0, None)
    """
    if limits is None:
        return None, None
    least, most = float(tally.values[0]), float(tally.values[-1])
    low = float(limits[0]) if least - limits[0] <= most - least else None
    return low, float(limits[1]) if limits[1] - most <= most - least else None


def skewed_from_zero(tally: Tally) -> bool:
    """Return whether all is above 0 and the upper half reaches three times as far as the lower.

    >>> skewed_from_zero(Tally.of(np.exp(np.linspace(-3, 3, 100))))
    True
    >>> skewed_from_zero(Tally.of(np.linspace(150, 200, 99)))
    False
    """
    least, middle, most = float(tally.values[0]), tally.quantile(0.5), float(tally.values[-1])
    return tally.rows >= _ROWS_FOR_BOUNDS and least > 0 and middle - least < (most - middle) / 3


def counts_from_zero(tally: Tally) -> bool:
    """Return whether whole numbers stop at 0 because they count.

    They start at 0 or 1, and would reach lower if their frequencies went on falling as they do there (at
    least three rows were expected one below); or they are far spread above 0.

    >>> counts_from_zero(Tally.of(np.repeat([0.0, 1.0, 2.0], [30, 40, 30])))
    True
    >>> counts_from_zero(Tally.of(np.repeat([0.0, 1.0, 2.0, 3.0], [1, 40, 40, 1])))
    False
    """
    least = tally.values[0]
    if least in (0.0, 1.0) and len(tally.values) > 1:
        return bool(tally.counts[0] ** 2 / tally.counts[1] >= 3)
    return skewed_from_zero(tally)


def is_whole(cells: Cells) -> bool:
    """Return whether all numbers are whole, and small enough that float64 tells them apart."""
    return bool(lattice_units(cells, 0)[1][~cells.missing].all())


def decimals_of(cells: Cells) -> int | None:
    """Return the fewest decimals that every number has, None for more than 9.

    >>> decimals_of(Cells("float", np.array([0.5, 1.25]), np.zeros(2, bool)))
    2
    """
    some = Cells(
        cells.sort,
        cells.present[:100],
        np.zeros(len(cells.present[:100]), dtype=bool),
        decimals=cells.decimals,
        precision=cells.precision,
    )
    for decimals in range(_MOST_DECIMALS + 1):
        if (
            lattice_units(some, decimals)[1].all()
            and lattice_units(cells, decimals)[1][~cells.missing].all()
        ):
            return decimals
    return None


def spacing(units: NDArray[np.int64]) -> int:
    """Return the spacing of whole numbers (different, in order): their common divisor from ten values on.

    With fewer values a common divisor is too often chance.

    >>> spacing(np.arange(0, 100, 5)), spacing(np.array([0, 4]))
    (5, 1)
    """
    if len(units) < 10:
        return 1
    return int(np.gcd.reduce(units[1:] - units[0])) or 1
