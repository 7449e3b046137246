"""From a kind and the cells of a column to its coding: bounds, atoms, lattice, levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from diffeo.errors import ConfigError, DataError, RowError, number, one_of
from diffeo.tables.columns import shape
from diffeo.tables.columns.coding import Coding
from diffeo.tables.columns.lattices import LatticeCoding
from diffeo.tables.columns.levels import LevelCoding
from diffeo.tables.columns.making import Making
from diffeo.tables.columns.numbers import NumberCoding
from diffeo.tables.columns.rules import KINDS
from diffeo.tables.columns.shape import Tally
from diffeo.tables.columns.times import TimeCoding, seconds
from diffeo.tables.frames.cells import TICKS, Cells
from diffeo.tables.variable import Variable

#: What may be said of each kind, besides its name.
DETAILS = {
    "continuous": ("low", "high", "atoms"),
    "positive": ("atoms",),
    "bounded": ("low", "high", "atoms"),
    "integer": ("low", "high", "atoms", "lattice"),
    "count": ("high", "atoms", "lattice"),
    "rounded": ("low", "high", "atoms", "lattice"),
    "ordinal": ("levels",),
    "categorical": ("levels",),
    "datetime": ("lattice",),
    "duration": ("lattice",),
}


#: Kinds that may be said to have holes, or to have none, whatever the rows at hand have.
MAY_MISS = (*DETAILS, "boolean")


def make(name: str, kind: str, cells: Cells, details: Mapping[str, Any]) -> Coding | None:
    """Return the coding of a column of this kind; None for an identifier, which is left out.

    Raises:
        ConfigError: the kind or a detail is not known.
        DataError: the column does not hold what the kind needs.
    """
    one_of("kind", kind, KINDS)
    allowed = (*DETAILS.get(kind, ()), "missing") if kind in MAY_MISS else ()
    for detail in details:
        if detail not in allowed:
            raise ConfigError(
                f"{detail}={details[detail]!r:.60} is no detail of kind {kind!r} (column {name!r}); "
                f"expected {', '.join(allowed) or 'none'}."
            )
    if cells.sort == "float" and bool(np.isinf(cells.present).any()):
        at = np.isinf(cells.content) & ~cells.missing
        raise RowError(
            f"column {name!r} has {int(at.sum())} infinite values, the first in row ",
            int(np.argmax(at)),
            "; expected finite numbers or missing values (NaN): replace them, by NaN or by a finite "
            "number.",
        )
    return _MAKERS[kind](Making(name, kind, cells, details))


def _continuous(m: Making) -> Coding:
    tally = m.numbers()
    low, high = m.bound("low", None), m.bound("high", None)
    return _number_coding(m, tally, low, high)


def _positive(m: Making) -> Coding:
    return _number_coding(m, m.numbers(), 0.0, None)


def _bounded(m: Making) -> Coding:
    tally = m.numbers()
    low, high = shape.interval(tally) or (None, None)
    atoms = shape.continuous_atoms(tally)
    ends = shape.end_atoms(tally, atoms)
    low = float(tally.values[0]) if tally.values[0] in ends else low
    high = float(tally.values[-1]) if tally.values[-1] in ends else high
    low, high = m.bound("low", low), m.bound("high", high)
    if low is None and high is None:
        raise m.error(
            f"its values from {tally.values[0]:g} to {tally.values[-1]:g} show no bound", "low or high",
            "say which, as {'kind': 'bounded', 'low': 0, 'high': 10}",
        )  # fmt: skip
    return _number_coding(m, tally, low, high)


def _number_coding(m: Making, tally: Tally, low: float | None, high: float | None) -> Coding:
    tally = _at_bounds(m, tally, low, high)
    _within(m, tally, low, high)
    found = shape.continuous_atoms(tally)
    ends = () if "atoms" in m.details else shape.frequent_ends(tally, found)
    atoms = m.atoms(found, *(end for end in ends if end in (low, high)))
    variable = Variable(
        m.name, len(atoms), numeric=True, low=low, high=high, atoms=atoms, missing=m.missing
    )
    return NumberCoding(variable, m.cells.sort, m.cells.decimals, m.cells.precision)


def _at_bounds(m: Making, tally: Tally, low: float | None, high: float | None) -> Tally:
    """Return the tally with its ends at the bounds, where the column's precision knows no difference."""
    values = tally.values.copy()
    for bound in (low, high):
        for at in (0, -1):
            with np.errstate(over="ignore"):
                met = bound is not None and np.float64(bound).astype(m.cells.precision) == values[at]
            if met:
                values[at] = bound
    return Tally(values, tally.counts)


def _within(m: Making, tally: Tally, low: float | None, high: float | None) -> None:
    for bound, worst, beyond in ((low, tally.values[0], -1), (high, tally.values[-1], 1)):
        if bound is not None and (worst - bound) * beyond > 0:
            expected = f"numbers of at {'least' if beyond < 0 else 'most'} {bound:g}"
            raise m.error(
                f"it holds {worst:g}", expected, "call it continuous or integer, or mend the data"
            )


def _integer(m: Making) -> Coding:
    tally = m.numbers(whole=True)
    low, high = shape.near_limits(tally, m.cells.limits)
    return _lattice_coding(m, tally, m.bound("low", low), m.bound("high", high), 0)


def _count(m: Making) -> Coding:
    tally = m.numbers(whole=True)
    high = shape.near_limits(tally, m.cells.limits)[1]
    return _lattice_coding(m, tally, 0.0, m.bound("high", high), 0)


def _rounded(m: Making) -> Coding:
    tally = m.numbers()
    decimals = m.cells.decimals if m.cells.sort == "decimal" else shape.decimals_of(m.cells)
    if decimals is None:
        raise m.error(
            "its numbers have more than 9 decimals", "rounded ones", "round them, or call it continuous"
        )
    low, high = shape.interval(tally) or (0.0 if shape.skewed_from_zero(tally) else None, None)
    return _lattice_coding(m, tally, m.bound("low", low), m.bound("high", high), decimals)


def _lattice_coding(
    m: Making, tally: Tally, low: float | None, high: float | None, decimals: int
) -> Coding:
    step = None
    if "lattice" in m.details:
        number("lattice", m.details["lattice"], above=0)
        told = Decimal(repr(float(m.details["lattice"]))).normalize()
        decimals = max(decimals, -int(told.as_tuple().exponent), 0)
        step = int(told.scaleb(decimals))
    scale = 10.0**decimals
    units = np.rint(tally.values * scale).astype(np.int64)
    # In float32 0.1 is another float64 than 0.1, which is what an atom is met as.
    tally = Tally(units / scale, tally.counts)
    _within(m, tally, low, high)
    step = shape.spacing(units) if step is None else step
    if np.any((units - units[0]) % step):
        raise m.error(
            f"its numbers are not {step / scale:g} apart", "multiples of the lattice", "give a finer one"
        )
    first = int(units[0])
    if step > 1:  # bounds are numbers of the lattice too
        low = None if low is None else (first - (first - int(np.ceil(low * scale))) // step * step) / scale
        high = (
            None if high is None else (first + (int(np.floor(high * scale)) - first) // step * step) / scale
        )
    atoms = m.atoms(shape.lattice_atoms(tally))
    for atom in atoms:
        at = float(np.rint(atom * scale))
        if at / scale != atom or (at - first) % step:
            raise m.error(
                f"its atoms have {atom:g}", f"numbers {step / scale:g} apart, as its own", "leave it out"
            )
    variable = Variable(
        m.name, len(atoms), numeric=True, lattice=step / scale, origin=first / scale, low=low,
        high=high, atoms=atoms, missing=m.missing,
    )  # fmt: skip
    # The type of a float does not say that nothing lies between: a finer number may come.
    snap = step > 1 or m.cells.sort == "float"
    return LatticeCoding(variable, m.cells.sort, decimals, first, step, snap)


def _times(m: Making) -> Coding:
    cells = m.cells
    if cells.sort != m.kind:
        raise m.error(
            f"it is of sort {cells.sort}",
            f"a {m.kind}",
            "convert it, with pandas.to_datetime or to_timedelta",
        )
    ticks = np.unique(cells.present)
    first = int(ticks[0])
    if int(ticks[-1]) - first >= 2**63 - 1024:
        raise m.error("it spans more than 64 bits of ticks hold", "a shorter span", "use a coarser unit")
    relative = ticks - first
    step = _time_step(m, relative)
    values = seconds(relative, cells.unit)
    counts = np.unique(cells.present, return_counts=True)[1].astype(np.int64)
    tally = Tally(values, counts)
    atoms = shape.lattice_atoms(tally) if step else shape.continuous_atoms(tally)
    lattice = float(step / TICKS[cells.unit])
    variable = Variable(m.name, len(atoms), numeric=True, lattice=lattice, atoms=atoms, missing=m.missing)
    return TimeCoding(variable, m.kind, cells.unit, first, step, _zoned(m))  # type: ignore[arg-type]


def _zoned(m: Making) -> bool | None:
    """Return whether times are instants of a time zone; None for what is no time."""
    return m.cells.zoned if m.cells.sort == "datetime" else None


def _time_step(m: Making, relative: Any) -> int:
    """Return the lattice in ticks: the longest of day, hour, minute and second that divides all times."""
    per_second = TICKS[m.cells.unit]
    if "lattice" in m.details:
        number("lattice", m.details["lattice"], least=0)
        told = m.details["lattice"]
        step = Fraction(str(told)) * per_second
        if step.denominator != 1:
            raise m.error(
                f"lattice={told:g} s is no whole number of the column's own steps ({m.cells.unit})",
                "such",
                "give another, or cast the column to a finer unit",
            )
        if step and np.any(relative % int(step)):
            raise m.error(f"its times are no multiples of {told:g} s apart", "such", "give less")
        return int(step)
    divisor = int(np.gcd.reduce(relative))
    for length in (86400, 3600, 60, 1):
        step = length * per_second
        if step.denominator == 1 and divisor % int(step) == 0:
            return int(step)
    return 0


def _levels(m: Making) -> Coding:
    cells = m.cells.as_labels()
    labels = list(cells.labels)
    if m.kind == "boolean" and len(labels) > 2:
        raise m.error(f"it has {len(labels)} labels", "two", "call it categorical")
    if "levels" in m.details:
        told = list(m.details["levels"])
        if m.cells.sort in ("decimal", "datetime", "duration"):
            raise m.error(
                f"levels={told!r:.60} was told of a column of sort {m.cells.sort}",
                "it of text, numbers or truth values only",
                "leave levels out, which are then in the order of the values; or make the column text",
            )
        absent = [label for label in labels if label not in told]
        if absent or len(set(told)) < len(told):
            fault = f"lacks {absent[0]!r:.60}" if absent else "repeats one"
            raise m.error(f"levels={told!r:.60} {fault}", "every label once", "name them all")
        labels = told
    ordered = m.kind == "ordinal"
    variable = Variable(m.name, len(labels), missing=m.missing, ordered=ordered)
    return LevelCoding(variable, tuple(labels), *_labelled(m))


def _labelled(m: Making) -> tuple[Any, ...]:
    """Return what a coding of labels is told of the cells: from their sort on."""
    return m.cells.sort, m.cells.decimals, m.cells.unit, _zoned(m), m.cells.precision


def _constant(m: Making) -> Coding:
    cells = m.cells.as_labels()
    used = np.unique(cells.present)
    if len(used) > 1:
        raise m.error(f"it has {len(used)} different values", "one", "call it categorical")
    labels = tuple(cells.labels[k] for k in used)
    variable = Variable(m.name, len(labels), missing=m.missing)
    return LevelCoding(variable, labels, *_labelled(m))


def _identifier(m: Making) -> None:
    return None


def _text(m: Making) -> None:
    raise DataError(
        f"column {m.name!r} is text, as {m.cells.sample(~m.cells.missing)}; expected numbers, categories "
        f"or dates: say kinds={{{m.name!r}: 'categorical'}} if its values are categories, "
        f"kinds={{{m.name!r}: 'identifier'}} to leave it out, or drop it."
    )


_MAKERS: dict[str, Callable[[Making], Coding | None]] = {
    "continuous": _continuous,
    "positive": _positive,
    "bounded": _bounded,
    "integer": _integer,
    "count": _count,
    "rounded": _rounded,
    "ordinal": _levels,
    "categorical": _levels,
    "boolean": _levels,
    "datetime": _times,
    "duration": _times,
    "constant": _constant,
    "identifier": _identifier,
    "text": _text,
}
