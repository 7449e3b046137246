"""Each label is a level: kinds categorical, ordinal, boolean, and constant with its one label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffeo.tables.columns.coding import IMPOSSIBLE, Coding, State, Value
from diffeo.tables.columns.lattices import lattice_units
from diffeo.tables.frames.cells import Cells, Label, Sort, coarser

_INT64 = 2**63 - 1


@dataclass(frozen=True)
class LevelCoding(Coding):
    """A label for each level.

    Args:
        variable: with as many levels.
        labels: what the levels are; numbers and ticks are labels too.
        sort: what cells are written.
        decimals: of a decimal, whose labels are in units of 10^−decimals.
        unit: of times, whose labels are ticks.
        zoned: whether datetimes are instants of a time zone; None: not known (of an older file).
        precision: of floats.
    """

    labels: tuple[Label, ...] = ()
    sort: Sort = "label"
    decimals: int = 0
    unit: str = ""
    zoned: bool | None = None
    precision: str = "float64"

    def encode(self, cells: Cells) -> tuple[State, Value]:
        """Return the level of each cell; a label that was not there before is impossible."""
        if "duration" in (cells.sort, self.sort) or "datetime" in (cells.sort, self.sort):
            self.refuse(cells, self.sort)
        self.refuse_zone(cells, self.zoned)
        given = cells.as_labels() if cells.unit == self.unit and cells.decimals == self.decimals else cells
        if given.sort != "label":  # other units than before
            self.refuse(cells, self.sort)
            given = _rescaled(cells, self).as_labels()
        precision = coarser(self.precision, cells.precision)
        known = {_key(label, precision): level for level, label in enumerate(self.labels)}
        # Where both 1 and 1.0 are levels, each is met as itself.
        itself = {(type(label), label): level for level, label in enumerate(self.labels)}
        levels = [
            itself.get((type(label), label), known.get(_key(label, precision), IMPOSSIBLE))
            for label in given.labels
        ]
        state = np.array(levels or [IMPOSSIBLE], dtype=np.int64)[given.content]
        return self.with_missing(state, np.full(len(cells), np.nan), cells.missing)

    def decode(self, state: State, value: Value) -> Cells:
        """Return the labels."""
        gone = self.gone(state)
        codes = np.where(gone, 0, state)
        if self.sort == "label":
            return Cells("label", codes, gone, self.labels)
        huge = any(isinstance(label, int) and label > _INT64 for label in self.labels)
        wide = np.uint64 if huge else np.int64
        table = np.array(self.labels or (0,), dtype=np.float64 if self.sort == "float" else wide)
        content = table[codes]
        if self.sort == "float":
            content = np.where(gone, np.nan, content)
        return Cells(
            self.sort, content, gone, decimals=self.decimals, unit=self.unit, zoned=bool(self.zoned)
        )


def _key(label: Label, precision: str) -> tuple[bool, Label]:
    """Return what tells labels apart: True is not 1, but 1.0 is (a hole turns integers into floats)."""
    if isinstance(label, float) and precision != "float64":
        with np.errstate(over="ignore"):
            label = float(np.float64(label).astype(precision))
    return isinstance(label, bool), label


def _rescaled(cells: Cells, coding: LevelCoding) -> Cells:
    if cells.sort in ("datetime", "duration"):
        from diffeo.tables.frames.cells import TICKS

        ratio = TICKS[coding.unit] / TICKS[cells.unit]
        exact = [value * ratio for value in cells.content.tolist()]
        content = np.array([int(v) if v.denominator == 1 else np.iinfo(np.int64).min for v in exact])
        return Cells(cells.sort, content, cells.missing, unit=coding.unit)
    units, on = lattice_units(cells, coding.decimals)
    return Cells("float", np.where(on, units, 0.5), cells.missing)  # between two units no level is
