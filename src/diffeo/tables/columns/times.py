"""Dates, times and durations: seconds from the first one seen, continuous or on a lattice.

Ticks are whole numbers of 64 bits; the first is subtracted before anything becomes a float, so that a time
in nanoseconds since 1970 loses no digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.columns.coding import Coding, State, Value, numeric_states
from diffeo.tables.frames.cells import TICKS, Cells, Sort
from diffeo.tables.variable import numbers_of

_LIMIT = 2**63 - 1024


@dataclass(frozen=True)
class TimeCoding(Coding):
    """Seconds from an origin (kinds datetime, duration).

    Args:
        variable: in seconds.
        sort: datetime or duration.
        unit: of ticks: D, s, ms, us or ns.
        first: the tick from which seconds count.
        step: the spacing in ticks, 0 if times are continuous.
        zoned: whether datetimes are instants of a time zone; None: not known (of an older file).
    """

    sort: Sort = "datetime"
    unit: str = "ns"
    first: int = 0
    step: int = 0
    zoned: bool | None = None

    def encode(self, cells: Cells) -> tuple[State, Value]:
        """Return state and value of each cell; a time between two of the lattice is impossible."""
        self.refuse(cells, self.sort)
        self.refuse_zone(cells, self.zoned)
        ticks, on = self._ticks(cells)
        if self.step:
            on = on & (ticks % self.step == 0)
        numbers = np.where(on, seconds(ticks, self.unit), np.nan)
        state, value = numeric_states(self.variable, numbers, on)
        return self.with_missing(state, value, cells.missing)

    def _ticks(self, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return ticks of this unit since the first, and where they are within 64 bits (and whole)."""
        zero = np.zeros(len(cells), dtype=np.int64)
        content = np.where(cells.missing, zero, cells.content) if cells.sort == self.sort else zero
        ratio = TICKS[self.unit] / TICKS[cells.unit or self.unit]
        possible = np.abs(content * float(ratio) - self.first) < _LIMIT
        whole, rest = np.divmod(np.where(possible, content, 0), ratio.denominator)
        possible &= (rest == 0) | (not self.step)
        return np.where(possible, whole * ratio.numerator - self.first, 0), possible

    def decode(self, state: State, value: Value) -> Cells:
        """Return the ticks that are nearest."""
        gone = self.gone(state)
        numbers = np.where(gone, 0.0, numbers_of(self.variable, state, value))
        per_second, step = TICKS[self.unit], max(self.step, 1)
        k = np.rint(
            numbers * float(per_second / step) if per_second >= 1 else numbers / float(step / per_second)
        )
        # What 64 bits hold; a float near 2^63 rounds, so that a little is left.
        below, above = (float((_LIMIT + sign * self.first) // step) * (1 - 2**-50) for sign in (1, -1))
        ticks = self.first + np.clip(k, -below, above).astype(np.int64) * step
        return Cells(self.sort, np.where(gone, 0, ticks), gone, unit=self.unit, zoned=bool(self.zoned))


def seconds(ticks: NDArray[np.int64], unit: str) -> NDArray[np.float64]:
    """Return ticks in seconds, each rounded once.

    >>> seconds(np.array([1500, 2]), "ms").tolist(), seconds(np.array([2]), "D").tolist()
    ([1.5, 0.002], [172800.0])
    """
    per_second: Fraction = TICKS[unit]
    floats = ticks.astype(np.float64)
    return floats / float(per_second) if per_second >= 1 else floats * float(1 / per_second)
