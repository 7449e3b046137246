"""One column of a schema: its kind, why, how its cells are coded, and how its frame held it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from diffeo.tables.columns.coding import Coding
from diffeo.tables.columns.lattices import LatticeCoding
from diffeo.tables.columns.levels import LevelCoding
from diffeo.tables.columns.numbers import NumberCoding
from diffeo.tables.columns.times import TimeCoding
from diffeo.tables.variable import Variable

_CODINGS: dict[str, type[Coding]] = {
    "number": NumberCoding,
    "lattice": LatticeCoding,
    "time": TimeCoding,
    "levels": LevelCoding,
}
_NAMES = {coding: name for name, coding in _CODINGS.items()}
_SHOWN = 3


@dataclass(frozen=True)
class Column:
    """A column of a table, as a schema sees it.

    Args:
        name: as text.
        key: as its frame has it (a whole number, in pandas).
        kind: one of :data:`diffeo.tables.columns.KINDS`.
        why: how the kind was found.
        coding: between cells and states; None: the column is left out (an identifier).
        storage: how its frame held it, in plain JSON.
        details: what the user said of it.
    """

    name: str
    key: str | int
    kind: str
    why: str
    coding: Coding | None
    storage: Mapping[str, Any]
    details: Mapping[str, Any]

    @property
    def about(self) -> str:
        """Return levels, bounds, atoms, spacing and holes in a line."""
        if self.coding is None:
            return "left out"
        variable = self.coding.variable
        said: list[str] = []
        if isinstance(self.coding, LevelCoding):
            shown = ", ".join(f"{label!r:.20}" for label in self.coding.labels[:_SHOWN])
            more = ", …" if variable.levels > _SHOWN else ""
            said.append(
                f"{variable.levels} level{'s' * (variable.levels != 1)}: {shown}{more}" if shown else ""
            )
        said += _numeric_details(variable)
        said += ["missing values"] if variable.missing else []
        return "; ".join(text for text in said if text)

    def to_json(self) -> dict[str, Any]:
        """Return the column in plain JSON values."""
        coding: dict[str, Any] | None = None
        if self.coding is not None:
            told = {
                f.name: getattr(self.coding, f.name) for f in fields(self.coding) if f.name != "variable"
            }
            variable = self.coding.variable
            coding = {
                "way": _NAMES[type(self.coding)],
                "variable": {f.name: _listed(getattr(variable, f.name)) for f in fields(variable)},
                **{name: _listed(value) for name, value in told.items()},
            }
        return {
            "name": self.name,
            "key": self.key,
            "kind": self.kind,
            "why": self.why,
            "coding": coding,
            "storage": dict(self.storage),
            "details": {name: _listed(value) for name, value in self.details.items()},
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Column:
        """Return the column that :meth:`to_json` wrote."""
        coding = told["coding"]
        made: Coding | None = None
        if coding is not None:
            rest = {name: value for name, value in coding.items() if name not in ("way", "variable")}
            if "labels" in rest:
                rest["labels"] = tuple(rest["labels"])
            made = _CODINGS[coding["way"]](Variable(**coding["variable"]), **rest)
        names = ("name", "key", "kind", "why", "storage", "details")
        return cls(coding=made, **{name: told[name] for name in names})


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _numeric_details(variable: Variable) -> list[str]:
    said: list[str] = []
    if variable.low is not None and variable.high is not None:
        said.append(f"from {variable.low:g} to {variable.high:g}")
    elif variable.low is not None:
        said.append(f"from {variable.low:g}")
    elif variable.high is not None:
        said.append(f"to {variable.high:g}")
    if variable.lattice:
        said.append(f"spacing {variable.lattice:g}")
    if variable.atoms:
        shown = ", ".join(f"{atom:g}" for atom in variable.atoms[:_SHOWN])
        more = f", … ({len(variable.atoms)})" if len(variable.atoms) > _SHOWN else ""
        said.append(f"atom{'s' * (len(variable.atoms) > 1)} {shown}{more}")
    return said
