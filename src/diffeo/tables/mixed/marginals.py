"""Columns by themselves: numbers to units in which they are standard normal, cells with them, and back."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.bijections import Gaussianize
from diffeo.tables.mixed.cells import EDGE
from diffeo.tables.variable import Encoded, Variable, numbers_of

Floats: TypeAlias = NDArray[np.float64]

#: Numbers of a lattice that are no atoms' from which its marginal is fitted; with fewer, atoms count too.
_ENOUGH = 20

#: One number in so many, or less, that is no atom's is next to none.
_ONE_IN = 1_000

#: What a map of little time is made from: of three numbers, it is straight; and the seconds it takes.
_QUARTERS, _STRAIGHT = (0.2, 0.5, 0.8), 4e-3

#: How near to its lattice a number has to be, in steps.
_NEAR = 1e-3


def fit_marginals(
    variables: Sequence[Variable], encoded: Encoded, seed: int, seconds: float = math.inf
) -> list[Gaussianize | None]:
    """Return the marginal map of each numeric variable, fitted to these rows; None for others.

    The numbers of a lattice are first spread over their cells: the distribution function of the marginal
    then goes up by the mass of each cell within it. A map takes some hundredths of a second: where hundreds
    of columns have to share a short time, those that ``seconds`` do not suffice for get the map of a normal
    law with their quartiles (on the line, where they have bounds), and their networks the rest to learn. So
    do lattices of which hardly a number among thousands is no atom's: their law is that of the states.
    """
    draws, begun = np.random.default_rng(seed), time.perf_counter()
    found: list[Gaussianize | None] = []
    for column, variable in enumerate(variables):
        if not variable.numeric:
            found.append(None)
            continue
        state, value = encoded.state[:, column], encoded.value[:, column]
        numbers = value[state == 0]
        many = bool(variable.lattice and variable.atoms) and len(state) >= _ONE_IN
        atoms_alone = many and _ONE_IN * len(numbers) < len(state)
        if variable.lattice and len(numbers) < _ENOUGH:
            numbers = numbers_of(variable, state, value)
        numbers = numbers[np.isfinite(numbers)]
        low, high = variable.low, variable.high
        if variable.lattice:
            numbers = numbers + (draws.random(len(numbers)) - 0.5) * variable.lattice
            low = high = None
        elif len(numbers) and (inner := _inside(variable, numbers)).any():
            numbers = numbers[inner]
        if not len(numbers):
            numbers = np.array([_somewhere(variable)])
        if atoms_alone or time.perf_counter() - begun + _STRAIGHT * (len(variables) - column) > seconds:
            numbers = np.quantile(numbers, _QUARTERS)
        found.append(_fitted(numbers, low, high))
    return found


def _fitted(numbers: Floats, low: float | None, high: float | None) -> Gaussianize:
    marginal = Gaussianize(1, low=[low], high=[high]).double()
    for name, bound in (("low", low), ("high", high)):
        if bound is not None:
            # Built in float32, a bound may round to the other side of a number.
            marginal.get_buffer(name).fill_(bound)
    return marginal.initialise(torch.from_numpy(numbers[:, None]))


def _inside(variable: Variable, numbers: Floats) -> NDArray[np.bool_]:
    """Return which numbers lie strictly between the bounds of a continuous variable."""
    low = -np.inf if variable.low is None else variable.low
    high = np.inf if variable.high is None else variable.high
    return (numbers > low) & (numbers < high)


def _somewhere(variable: Variable) -> float:
    """Return a number within the bounds, for a variable that none was met of."""
    low, high = variable.low, variable.high
    if low is not None and high is not None:
        return 0.5 * low + 0.5 * high
    return low + 1.0 if low is not None else high - 1.0 if high is not None else variable.origin


def nearest_inside(variables: Sequence[Variable], encoded: Encoded) -> Tensor:
    """Return the least and the largest number strictly within the bounds, (variables, 2).

    The density at a bound itself, which has no mass, is said to be that there.
    """
    found = np.zeros((len(variables), 2))
    for column, variable in enumerate(variables):
        if variable.numeric:
            numbers = encoded.value[encoded.state[:, column] == 0, column]
            numbers = numbers[np.isfinite(numbers) & _inside(variable, numbers)]
            found[column] = (numbers.min(), numbers.max()) if len(numbers) else _somewhere(variable)
    return torch.from_numpy(found)


def unit_of(
    variable: Variable, marginal: Any, inside: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return u of the numbers of a continuous variable, log du/dx, and whether they are possible."""
    low, high = inside
    if variable.low is not None:
        value = torch.where(value == variable.low, low, value)
    if variable.high is not None:
        value = torch.where(value == variable.high, high, value)
    u, slope = (part.squeeze(-1) for part in marginal.elementwise(value.unsqueeze(-1)))
    ok = u.isfinite() & slope.isfinite()
    return torch.where(ok, u, 0.0), torch.where(ok, slope, 0.0), ok


def cell_of(variable: Variable, marginal: Any, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells of numbers of a lattice, ``(3, rows)``: their ends and widths; whether possible.

    The ends are computed from the number of the step on either side of them, so that cells meet.
    """
    step = ((value - variable.origin) / variable.lattice).round()
    off = (value - (variable.origin + step * variable.lattice)).abs()
    near = off <= _NEAR * variable.lattice + 1e-12 * value.abs()
    lowest, highest = steps(variable)
    ok = near & (step >= lowest) & (step <= highest)
    step = torch.where(ok, step, torch.tensor(max(lowest, min(highest, 0.0)), dtype=step.dtype))
    ends = torch.stack([step - 0.5, step + 0.5], -1) * variable.lattice + variable.origin
    u, _ = marginal.elementwise(ends.reshape(-1, 1))
    below, above = u.reshape(ends.shape).clamp(-EDGE, EDGE).unbind(-1)
    below = torch.where(step == lowest, -EDGE, below)
    above = torch.where(step == highest, EDGE, above)
    return torch.stack([below, above, above - below]), ok


def steps(variable: Variable) -> tuple[float, float]:
    """Return the first and the last step of a lattice, infinite where it has no bound."""
    low, high = variable.low, variable.high
    first = -np.inf if low is None else np.ceil((low - variable.origin) / variable.lattice - _NEAR)
    last = np.inf if high is None else np.floor((high - variable.origin) / variable.lattice + _NEAR)
    return float(first), float(last)


def value_of(variable: Variable, marginal: Any, u: Tensor) -> Tensor:
    """Return the numbers that ``u`` stands for: of a lattice, those in whose cells they fall."""
    value = marginal.elementwise_back(u.unsqueeze(-1)).squeeze(-1)
    if not variable.lattice:
        # The map goes to the open interval; the last digits may not.
        return value.clamp(variable.low, variable.high) if _bounded(variable) else value
    lowest, highest = steps(variable)
    step = ((value - variable.origin) / variable.lattice).round().clamp(lowest, highest)
    return step * variable.lattice + variable.origin


def _bounded(variable: Variable) -> bool:
    return variable.low is not None or variable.high is not None
