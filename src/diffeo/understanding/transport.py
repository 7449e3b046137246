"""The same row in another group: its latent under one group, decoded under the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.tables.variable import Encoded, Variable, numbers_of
from diffeo.understanding.given_group import GivenGroup
from diffeo.understanding.groups import Groups
from diffeo.understanding.subject import cell_text

Array = NDArray[np.float64]

#: What a counterfactual takes for granted; said with every one.
ASSUMPTIONS = (
    "A counterpart keeps the row's latent numbers: its rank in each column given the columns before it, in "
    "the model's order. That is what the group would change if it caused nothing but shifts of these "
    "distributions, nothing unseen caused both, and the order were that of causes. No data can show that; "
    "read it as a matching of distributions, not as what would happen to a person."
)


@dataclass(frozen=True)
class Moved:
    """How a column of rows of one group changes in another.

    Attributes:
        column: the column.
        before: its middle (median, or most frequent cell) in the rows.
        after: that of their counterparts.
        shift: the mean change of a number; of a category the share of rows that change.
    """

    column: str
    before: str
    after: str
    shift: float


@dataclass(frozen=True)
class Transport:
    """Rows of one group and their counterparts in another.

    Attributes:
        group: whose rows.
        to: the group they are decoded under.
        rows: how many.
        columns: what changes.
        assumptions: what this takes for granted.
    """

    group: str
    to: str
    rows: int
    columns: tuple[Moved, ...]
    assumptions: str = ASSUMPTIONS


def transports(
    groups: Groups, density: GivenGroup, of_outcome: GivenGroup | None, most: int = 500
) -> list[Transport]:
    """Return every group's test rows as they would be in the largest group, and the largest's in each."""
    pairs = [pair for k in range(1, len(groups.labels)) for pair in ((k, 0), (0, k))]
    return [_transport(groups, density, of_outcome, a, b, most) for a, b in pairs]


def _transport(
    groups: Groups, density: GivenGroup, of_outcome: GivenGroup | None, a: int, b: int, most: int
) -> Transport:
    own = groups.test[groups.member[groups.test] == a][:most]
    rows = groups.rows.rows(own)
    moved = counterparts(density, of_outcome, rows, b)
    columns = [*density.columns, *(of_outcome.columns if of_outcome is not None else ())]
    told = [_moved(groups, rows, moved, j) for j in columns] if len(own) else []
    return Transport(groups.labels[a], groups.labels[b], len(own), tuple(told))


def counterparts(density: GivenGroup, of_outcome: GivenGroup | None, rows: Encoded, place: int) -> Encoded:
    """Return rows as they would be in a group: the other columns first, then the outcome given these."""
    moved = density.moved(rows, rows, place)
    return moved if of_outcome is None else of_outcome.moved(rows, moved, place)


def _moved(groups: Groups, rows: Encoded, moved: Encoded, column: int) -> Moved:
    variable = groups.variables[column]
    shift = float((rows.state[:, column] != moved.state[:, column]).mean())
    if variable.numeric:
        change = _numbers(variable, moved, column) - _numbers(variable, rows, column)
        shift = float(np.mean(change[np.isfinite(change)])) if np.isfinite(change).any() else np.nan
    before, after = (_middle(groups, one, column) for one in (rows, moved))
    return Moved(variable.name, before, after, shift)


def _numbers(variable: Variable, rows: Encoded, column: int) -> Array:
    return numbers_of(variable, rows.state[:, column], rows.value[:, column])


def _middle(groups: Groups, rows: Encoded, column: int) -> str:
    variable = groups.variables[column]
    numbers = _numbers(variable, rows, column)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers):
        return cell_text(groups.schema, column, 0, float(np.quantile(numbers, 0.5, method="lower")))
    common = int(np.argmax(np.bincount(rows.state[:, column], minlength=variable.states)))
    return cell_text(groups.schema, column, common, np.nan)
