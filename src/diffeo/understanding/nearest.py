"""The nearest likely row: as few cells changed as it takes, each as little as it takes.

The density is ascended one cell at a time, over everything that the column can hold (states, points of its
lattice, numbers within its bounds), the cell first that gains most; once the row is likely, cells that need
not have changed are put back, and numbers go back as far as the row stays likely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.variable import Encoded, Variable
from diffeo.understanding.surprisal import LogProb, conditional, state_at

Array = NDArray[np.float64]

#: Rounds of halving on the way, and of going back.
_HALVINGS, _BACK = 2, 12

#: A gain below this many nats is none.
_GAIN = 0.05


@dataclass(frozen=True)
class Ascent:
    """Where the ascent ended.

    Attributes:
        row: one encoded row.
        changed: the columns that differ, the one that gained most first.
        log_prob: log p of it.
        likely: whether it reached the wanted log-density.
    """

    row: Encoded
    changed: tuple[int, ...]
    log_prob: float
    likely: bool


def nearest_likely(
    log_prob: LogProb, variables: list[Variable], row: Encoded, reference: Encoded, wanted: float
) -> Ascent:
    """Return the nearest row whose log p is at least ``wanted``, or the best that was found."""
    here, order = row.rows(np.array([0])), list[int]()
    for column in np.flatnonzero(row.state[0] < 0):
        # No density says which way to go from a cell that cannot be: begin where most rows are.
        _place(here, int(column), *_common(variables[column], reference, int(column)))
        order.append(int(column))
    best = float(log_prob(here)[0])
    for _ in range(2 * len(variables)):
        if best >= wanted:
            break
        tried = [
            conditional(log_prob, variable, here, column, reference, _HALVINGS)
            for column, variable in enumerate(variables)
        ]
        tops = [float(one.log_prob.max(initial=-np.inf)) for one in tried]
        column = int(np.argmax(tops))
        if not tops[column] > best + _GAIN:
            break
        top = int(np.argmax(tried[column].log_prob[0]))
        _place(here, column, int(tried[column].state[0, top]), float(tried[column].value[0, top]))
        best = tops[column]
        order = [*order, column] if column not in order else order
    if best >= wanted:
        order = _back(log_prob, variables, row, here, order, wanted)
        best = float(log_prob(here)[0])
    return Ascent(here, tuple(order), best, best >= wanted)


def _place(row: Encoded, column: int, state: int, value: float) -> None:
    row.state[0, column], row.value[0, column] = state, value


def _common(variable: Variable, reference: Encoded, column: int) -> tuple[int, float]:
    """Return the most frequent state, and the median of its numbers."""
    state = reference.state[:, column]
    found = int(np.argmax(np.bincount(state[state >= 0], minlength=variable.states)))
    value = reference.value[state == found, column]
    value = value[np.isfinite(value)]
    return found, float(np.quantile(value, 0.5, method="lower")) if len(value) else np.nan


def _back(
    log_prob: LogProb,
    variables: list[Variable],
    row: Encoded,
    here: Encoded,
    order: list[int],
    wanted: float,
) -> list[int]:
    """Move cells of ``here`` back towards ``row``, in place; return the columns that still differ."""
    kept = list[int]()
    for column in reversed(order):
        new = int(here.state[0, column]), float(here.value[0, column])
        old = int(row.state[0, column]), float(row.value[0, column])
        if old[0] >= 0:
            _place(here, column, *old)
            if float(log_prob(here)[0]) >= wanted:
                continue
            _place(here, column, *new)
        kept.append(column)
        if old[0] == 0 == new[0] and variables[column].numeric:
            _number_back(log_prob, variables[column], here, column, old[1], wanted)
    return kept[::-1]


def _number_back(
    log_prob: LogProb, variable: Variable, here: Encoded, column: int, old: float, wanted: float
) -> None:
    """Move one number back towards ``old`` by bisection, as far as the row stays likely."""
    near, far = float(here.value[0, column]), old
    for _ in range(_BACK):
        middle = 0.5 * (near + far)
        if variable.lattice:
            middle = variable.origin + float(variable.steps(np.array([middle]))[0]) * variable.lattice
            if middle in (near, far):
                break
        # An atom on the way is a state of its own, to which a number of the lattice belongs.
        _place(here, column, state_at(variable, middle), middle)
        if float(log_prob(here)[0]) >= wanted:
            near = middle
        else:
            far = middle
    _place(here, column, state_at(variable, near), near)
