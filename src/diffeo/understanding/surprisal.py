"""How surprising a cell is given the rest of its row: −log p(xⱼ | x₋ⱼ), from the density of whole rows.

p(xⱼ | x₋ⱼ) = p(x) / Σ_s ∫ p(x₋ⱼ, s, t) dt. The sum over states (categories, atoms, holes, points of a short
lattice) is exact. The integral over a number is a quadrature that refines itself: log p is linear between
nodes, the intervals with most mass are halved, a round after another, and what the last round changed is
reported as its error. Every row has nodes of its own, as many as all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.variable import Encoded, Variable

Array = NDArray[np.float64]
States = NDArray[np.int64]
LogProb = Callable[[Encoded], Array]

#: Rows that are scored at a time.
_AT_ONCE = 20_000

#: Points of a lattice that are summed one by one; longer ones are integrated over.
SHORT = 64

#: Where nodes begin beyond the numbers that were seen, in units of their spread.
_BEYOND = (0.03, 0.1, 0.3, 1.0, 3.0)

_SEEN, _HALVED = 15, 12


@dataclass(frozen=True)
class Conditional:
    """Cells of one column that were tried in each row, and what they say together.

    Attributes:
        state: (rows, tried).
        value: (rows, tried).
        log_prob: log p of the row with that cell, (rows, tried).
        log_total: log p(x₋ⱼ) of each row.
        error: what the last halving changed of it, in nats.
    """

    state: States
    value: Array
    log_prob: Array
    log_total: Array
    error: Array


def conditional(
    log_prob: LogProb, variable: Variable, rows: Encoded, column: int, reference: Encoded, halvings: int = 4
) -> Conditional:
    """Return the conditional of a column given the rest, for each row.

    Args:
        log_prob: of encoded rows.
        variable: the column.
        rows: the rows; what stands in the column is one of the nodes where it can be.
        column: its place.
        reference: rows that say where its numbers are.
        halvings: rounds of refinement.
    """
    count = len(rows)
    states = [s for s in range(variable.states) if not (variable.numeric and s == 0)]
    atoms = (
        np.array([np.nan, *variable.atoms, np.nan])[states]
        if variable.numeric
        else np.full(len(states), np.nan)
    )
    state, value = np.tile(np.array(states, np.int64), (count, 1)), np.tile(atoms, (count, 1))
    found = _scored(log_prob, rows, column, state, value)
    total = _sum(found)
    error = np.zeros(count)
    if variable.numeric:
        seen = reference.value[reference.state[:, column] == 0, column]
        own = np.where(rows.state[:, column] == 0, rows.value[:, column], np.nan)
        points = _lattice_points(variable, seen, own) if variable.lattice else None
        if points is not None:
            x = np.tile(points, (count, 1))
            log_p = _scored(log_prob, rows, column, np.zeros(x.shape, np.int64), x)
            mass = _sum(log_p)
        else:
            x, log_p, mass, error = _integrated(
                log_prob, variable, rows, column, _nodes(variable, seen, own), halvings
            )
        whole = np.logaddexp(total, mass)
        # The quadrature's part of the sum, and so of its error.
        share = np.exp(mass - np.where(np.isfinite(whole), whole, 0.0))
        total, error = whole, np.nan_to_num(error * share, posinf=np.inf)
        state = np.concatenate([state, np.zeros(x.shape, np.int64)], axis=1)
        value, found = np.concatenate([value, x], axis=1), np.concatenate([found, log_p], axis=1)
    return Conditional(state, value, found, total, error)


def surprisals(
    log_prob: LogProb, variables: list[Variable], rows: Encoded, reference: Encoded
) -> tuple[Array, Array]:
    """Return −log p(xⱼ | x₋ⱼ) of each cell and its error, (rows, columns), in nats.

    Densities are in the column's unit, so that numbers of different columns are compared by their ranks
    among those of usual rows, not with each other. A cell that cannot be is infinitely surprising; beside
    one, other cells of the row have none (NaN).
    """
    own = log_prob(rows)
    surprise, error = np.full(rows.state.shape, np.nan), np.full(rows.state.shape, np.nan)
    impossible = rows.state < 0
    for column, variable in enumerate(variables):
        found = conditional(log_prob, variable, rows, column, reference)
        with np.errstate(invalid="ignore"):
            surprise[:, column], error[:, column] = found.log_total - own, found.error
    surprise[impossible.any(axis=1)] = np.nan
    surprise[impossible] = np.inf
    return surprise, error


def _scored(log_prob: LogProb, rows: Encoded, column: int, state: States, value: Array) -> Array:
    """Return log p of each row with each of its cells tried, −∞ where that is not a number."""
    tried = state.shape[1]
    found = np.empty(state.size)
    for start in range(0, state.size, _AT_ONCE):
        place = np.arange(start, min(start + _AT_ONCE, state.size))
        some = rows.rows(place // tried)
        some.state[:, column], some.value[:, column] = state.reshape(-1)[place], value.reshape(-1)[place]
        found[place] = log_prob(some)
    return np.where(np.isnan(found), -np.inf, found).reshape(state.shape)


def _sum(log_p: Array) -> Array:
    return np.logaddexp.reduce(log_p, axis=1) if log_p.shape[1] else np.full(len(log_p), -np.inf)


def state_at(variable: Variable, number: float) -> int:
    """Return the state of a number of a lattice: its atom's, or 0.

    >>> table = Variable("age", 2, numeric=True, lattice=1.0, atoms=(0.0, 18.0))
    >>> state_at(table, 18.0), state_at(table, 17.0)
    (2, 0)
    """
    near = [abs(number - atom) < 1e-6 * variable.lattice for atom in variable.atoms]
    return near.index(True) + 1 if any(near) else 0


def _lattice_points(variable: Variable, seen: Array, own: Array) -> Array | None:
    """Return the points of a short lattice that are not atoms, else None."""
    numbers = np.concatenate([seen, own])
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        numbers = np.array([variable.origin])
    first, last = variable.steps(np.array([numbers.min(), numbers.max()]))
    room = np.ceil(0.25 * (last - first)) + 2
    first, last = first - room, last + room
    if variable.low is not None:
        first = max(first, np.ceil((variable.low - variable.origin) / variable.lattice - 1e-3))
    if variable.high is not None:
        last = min(last, np.floor((variable.high - variable.origin) / variable.lattice + 1e-3))
    if last - first >= SHORT:
        return None
    points = variable.origin + np.arange(first, last + 1) * variable.lattice
    return points[[not state_at(variable, point) for point in points]]


def _nodes(variable: Variable, seen: Array, own: Array) -> Array:
    """Return the first nodes of each row, ascending: quantiles of what was seen, beyond, and its own."""
    numbers = seen[np.isfinite(seen)]
    if not len(numbers):
        numbers = own[np.isfinite(own)]
    if not len(numbers):
        numbers = np.array([variable.origin])
    quantiles = np.quantile(numbers, np.linspace(0, 1, _SEEN))
    spread = float(quantiles[-1] - quantiles[0]) or abs(float(quantiles[0])) or 1.0
    beyond = spread * np.array(_BEYOND)
    fixed = np.concatenate([quantiles[0] - beyond[::-1], quantiles, quantiles[-1] + beyond])
    centre = np.where(np.isfinite(own), own, quantiles[len(quantiles) // 2])[:, None]
    near = centre + spread * np.array([-0.3, -0.03, 0.0, 0.03, 0.3])
    x = np.concatenate([np.tile(fixed, (len(own), 1)), near], axis=1)
    return _placed(variable, np.sort(x, axis=1))


def _placed(variable: Variable, x: Array) -> Array:
    """Return numbers within the bounds and, of a lattice, on it."""
    if variable.lattice:
        x = variable.origin + variable.steps(x) * variable.lattice
    return np.clip(x, variable.low, variable.high) if (variable.low, variable.high) != (None, None) else x


def _integrated(
    log_prob: LogProb, variable: Variable, rows: Encoded, column: int, x: Array, halvings: int
) -> tuple[Array, Array, Array, Array]:
    """Return nodes, log p at them, the log of the integral, and what the last halving changed of it."""
    log_p = _scored(log_prob, rows, column, np.zeros(x.shape, np.int64), x)
    mass = before = _mass(variable, x, log_p)
    for _ in range(halvings):
        pieces = _pieces(variable, x, log_p)
        if variable.lattice:  # neighbours have nothing between them
            pieces = np.where(np.diff(x, axis=1) > 1.5 * variable.lattice, pieces, -np.inf)
        largest = np.argsort(-pieces, axis=1, kind="stable")[:, :_HALVED]
        new = 0.5 * (np.take_along_axis(x, largest, 1) + np.take_along_axis(x, largest + 1, 1))
        new = _placed(variable, new)
        more = _scored(log_prob, rows, column, np.zeros(new.shape, np.int64), new)
        x, log_p = np.concatenate([x, new], 1), np.concatenate([log_p, more], 1)
        order = np.argsort(x, axis=1, kind="stable")
        x, log_p = np.take_along_axis(x, order, 1), np.take_along_axis(log_p, order, 1)
        before, mass = mass, _mass(variable, x, log_p)
    with np.errstate(invalid="ignore"):
        return x, log_p, mass, np.abs(mass - before)


def _mass(variable: Variable, x: Array, log_p: Array) -> Array:
    """Return the log of the integral over all nodes, or of the sum over the lattice between them.

    A point of the lattice that is an atom's is a state of its own, and no part of the sum.
    """
    pieces = _pieces(variable, x, log_p)
    if not variable.lattice:
        return _sum(pieces)
    mass = _sum(np.concatenate([pieces, log_p[:, -1:]], 1))
    atoms = np.array(variable.atoms)
    on = (
        np.abs(variable.origin + variable.steps(atoms) * variable.lattice - atoms) < 1e-6 * variable.lattice
    )
    if not on.any():
        return mass
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.exp(_between(variable, x, log_p, atoms[on]) - mass[:, None]).sum(axis=1)
        return np.where(np.isfinite(mass), mass + np.log(np.maximum(1.0 - share, 0.0)), mass)


def _between(variable: Variable, x: Array, log_p: Array, points: Array) -> Array:
    """Return log p at points of a lattice, as linear between nodes as in the sum; −∞ beyond the nodes."""
    floor, found = _floored(log_p), np.full((len(x), len(points)), -np.inf)
    every, last = np.arange(len(x)), x.shape[1] - 1
    for k, point in enumerate(points):
        below = (x < point + 0.5 * variable.lattice).sum(axis=1) - 1
        at, after = np.maximum(below, 0), np.minimum(below + 1, last)
        a, b, width = floor[every, at], floor[every, after], x[every, after] - x[every, at]
        steps = np.rint((point - x[every, at]) / variable.lattice) * variable.lattice
        along = np.where(width > 0, steps / np.where(width > 0, width, 1.0), 0.0)
        # The last node itself is in the sum as it is, and what comes after it is not.
        log_at = np.where(below < last, a + (b - a) * along, np.where(steps == 0, log_p[:, -1], -np.inf))
        found[:, k] = np.where(below >= 0, log_at, -np.inf)
    return found


def _floored(log_p: Array) -> Array:
    """Return log p, no lower than where an interval whose other end has no density falls steeply."""
    return np.maximum(log_p, np.max(log_p, axis=1, keepdims=True, initial=-np.inf) - 700.0)


def _pieces(variable: Variable, x: Array, log_p: Array) -> Array:
    """Return the log of the integral between neighbouring nodes, log p being linear between them.

    ∫ exp(a + (b − a) t) dt = e^max · (1 − e^−|b−a|) / |b − a|. On a lattice, n steps apart, the sum over
    the first node and the points up to the second: e^a (e^(b−a) − 1) / (e^((b−a)/n) − 1).
    """
    floor = _floored(log_p)
    a, b, width = floor[:, :-1], floor[:, 1:], np.diff(x, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.where(np.abs(b - a) > 1e-9, b - a, 1e-9)
        if variable.lattice:
            steps = np.rint(width / variable.lattice)
            found = np.where(steps > 0, a + np.log(np.expm1(rise) / np.expm1(rise / steps)), -np.inf)
        else:
            fall = np.abs(rise)
            found = np.maximum(a, b) + np.log(-np.expm1(-fall) / fall) + np.log(width)
    return np.where(np.isnan(found), -np.inf, found)
