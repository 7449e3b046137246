"""The column that a coding is made for: its cells, and what its user said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffeo.errors import DataError, flag, number
from diffeo.tables.columns import shape
from diffeo.tables.columns.lattices import lattice_units
from diffeo.tables.columns.shape import Tally
from diffeo.tables.frames.cells import EXACT, Cells


@dataclass(frozen=True)
class Making:
    """The column at hand, and what its user said of it."""

    name: str
    kind: str
    cells: Cells
    details: Mapping[str, Any]

    @property
    def missing(self) -> bool:
        """Return whether a cell is missing, or may be: what the user said, else what there is."""
        found = bool(self.cells.missing.any())
        said = self.details.get("missing", found)
        flag("missing", said)
        if found and not said:
            raise self.error(
                f"{int(self.cells.missing.sum())} of its cells are missing and missing=False",
                "none",
                "fill them, or leave missing out",
            )
        return said

    def numbers(self, *, whole: bool = False) -> Tally:
        """Return the tally of the numbers, or raise."""
        if self.cells.sort not in ("float", "whole", "decimal"):
            raise self.error("it holds no numbers", "a column of numbers", "convert it")
        if self.cells.sort == "whole" and np.abs(self.cells.present.astype(float)).max(initial=0) > EXACT:
            raise self.error(
                "it holds whole numbers beyond 2^53, which float64 cannot tell apart",
                "smaller ones",
                "call it categorical or identifier, or turn it into floats, which rounds it",
            )
        if whole and not shape.is_whole(self.cells):
            off = ~lattice_units(self.cells, 0)[1] & ~self.cells.missing
            raise self.error(
                f"it holds {self.cells.sample(off)}", "whole numbers", "call it rounded or continuous"
            )
        tally = Tally.of(self.cells.numbers())
        if not len(tally.values):
            raise self.error("it has no value at all", "some", "leave it constant")
        return tally

    def bound(self, side: str, found: float | None) -> float | None:
        """Return the bound that the user gave, else the one found."""
        given = self.details.get(side, found)
        number(side, given, optional=True)
        return None if given is None else float(given)

    def atoms(self, found: tuple[float, ...], *more: float) -> tuple[float, ...]:
        """Return the atoms that the user gave, else those found; and ``more``."""
        given = tuple(float(atom) for atom in self.details.get("atoms", found))
        return tuple(sorted({*given, *more}))

    def error(self, given: str, expected: str, remedy: str) -> DataError:
        """Return an error about the column."""
        return DataError(
            f"column {self.name!r} cannot be {self.kind}: {given}; expected {expected}: {remedy}."
        )
