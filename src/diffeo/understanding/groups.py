"""Who is compared with whom: rows by group, half of them to learn p(x | group) from, half to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError
from diffeo.tables.variable import Encoded, Variable, numbers_of
from diffeo.understanding.labels import labels_of_cells
from diffeo.understanding.subject import Subject, cell_text, encoded

Array = NDArray[np.float64]
Index = NDArray[np.int64]

#: Groups, at most; and rows of a group on each side below which it gets intervals, not verdicts.
MOST_GROUPS, FEWEST = 20, 20


@dataclass(frozen=True)
class Groups:
    """Encoded rows and their groups.

    Attributes:
        schema: of all columns, the group's among them.
        group: the group's column.
        outcome: the outcome's column, or −1.
        labels: the groups that have rows, as text, the largest first.
        states: their states.
        rows: the rows that can be, encoded.
        kept: their numbers in the data.
        member: each row's place in ``labels``.
        learn: rows that p(x | group) is learned from.
        test: the others.
    """

    schema: Any
    group: int
    outcome: int
    labels: tuple[str, ...]
    states: tuple[int, ...]
    rows: Encoded
    kept: Index
    member: Index
    learn: Index
    test: Index

    @property
    def variables(self) -> list[Variable]:
        """Return the columns."""
        return list(self.schema.variables)

    @property
    def features(self) -> list[int]:
        """Return the columns besides group and outcome."""
        return [k for k in range(len(self.variables)) if k not in (self.group, self.outcome)]

    @property
    def sizes(self) -> list[int]:
        """Return the rows of each group."""
        return np.bincount(self.member, minlength=len(self.labels)).tolist()

    def enough(self, place: int) -> bool:
        """Return whether a group and the others have the rows that a verdict needs, on either side."""
        for part in (self.learn, self.test):
            mine = int((self.member[part] == place).sum())
            if min(mine, len(part) - mine) < FEWEST // 2:
                return False
        return self.sizes[place] >= FEWEST


def grouped(subject: Subject, data: Any, group: str, outcome: str | None, seed: int) -> Groups:
    """Return the rows of a table by group, split in halves within each group.

    Raises:
        ConfigError: group and outcome are one column, or there are too many groups.
        DataError: a column is not there, or there are not two groups.
    """
    from diffeo.tables import Schema

    if group == outcome:
        raise ConfigError(f"outcome={outcome!r} is the group; expected another column: pass another.")
    wanted = [group] if outcome is None else [group, outcome]
    schema = subject.schema
    if not set(wanted) <= set(schema.order):
        own = subject.model.kinds
        schema = Schema.infer(data, kinds=None if isinstance(own, Schema) else own)
    for name in wanted:
        if name not in schema.order:
            raise DataError(f"column {name!r} is not modelled; expected one of {', '.join(schema.order)}.")
    if schema.variables[schema.order.index(group)].numeric:
        schema = schema.with_kind(group, "categorical", data)
    order = list(schema.order)
    column = order.index(group)
    rows = encoded(schema, data)
    kept = np.flatnonzero((rows.state >= 0).all(axis=1))
    rows = rows.rows(kept)
    counts = np.bincount(rows.state[:, column], minlength=schema.variables[column].states)
    states = [int(s) for s in np.argsort(-counts, kind="stable") if counts[s]]
    if len(states) < 2:
        raise DataError(
            f"column {group!r} has {len(states)} group(s) in these rows; expected at least two to compare."
        )
    if len(states) > MOST_GROUPS:
        raise ConfigError(
            f"group={group!r} has {len(states)} groups; expected at most {MOST_GROUPS}: put some together."
        )
    place = np.full(max(states) + 1, -1)
    place[states] = np.arange(len(states))
    member = place[rows.state[:, column]]
    draws, learn, test = np.random.default_rng([seed, 3]), list[Index](), list[Index]()
    for k in range(len(states)):
        own = draws.permutation(np.flatnonzero(member == k))
        learn.append(own[: (len(own) + 1) // 2])
        test.append(own[(len(own) + 1) // 2 :])
    return Groups(
        schema,
        column,
        -1 if outcome is None else order.index(outcome),
        tuple(_label(schema, column, s) for s in states),
        tuple(states),
        rows,
        kept,
        member,
        np.sort(np.concatenate(learn)),
        np.sort(np.concatenate(test)),
    )


def _label(schema: Any, column: int, state: int) -> Any:
    """Return what a state of the group's column stands for."""
    variable = schema.variables[column]
    cells = schema[variable.name].coding.decode(np.array([state]), np.array([np.nan]))
    found = labels_of_cells(cells)[0]
    return "missing" if found is None else found


def cells_of(variable: Variable, rows: Encoded, column: int) -> tuple[Index, int]:
    """Return each row's cell in one column, and how many there are.

    Categories are their own cells (rare ones together), numbers are in cells of equal counts, some ∛n of
    them; what is missing is a cell.

    >>> rows = Encoded(np.zeros((8, 1), int), np.arange(8.0)[:, None])
    >>> cells_of(Variable("x", 0, numeric=True), rows, 0)[0].tolist()
    [0, 0, 1, 1, 2, 2, 3, 3]
    """
    state, n = rows.state[:, column], len(rows)
    if not variable.numeric:
        counts = np.bincount(state, minlength=variable.states)
        order = np.argsort(-counts, kind="stable")
        code = np.empty(len(order), np.int64)
        code[order] = np.minimum(np.arange(len(order)), 23)
        return code[state], int(code[state].max()) + 1
    numbers = numbers_of(variable, state, rows.value[:, column])
    known = np.isfinite(numbers)
    if not known.any():
        return np.zeros(n, np.int64), 1
    cells = int(np.clip(round(n ** (1 / 3)), 4, 24))
    edges = np.unique(np.quantile(numbers[known], np.arange(1, cells) / cells))
    cell = np.searchsorted(edges, np.where(known, numbers, 0.0), side="right")
    return np.where(known, cell, len(edges) + 1), len(edges) + 2


def contrast(
    schema: Any, rows: Encoded, column: int, mine: NDArray[np.bool_], other: NDArray[np.bool_]
) -> tuple[float, str]:
    """Return how far some rows are from others in one column, from 0 to 1, and where, in words.

    For numbers |2·AUC − 1|; for states the largest difference of a share.
    """
    variable = schema.variables[column]
    state = rows.state[:, column]
    best, said = 0.0, ""
    numbers = numbers_of(variable, state, rows.value[:, column])
    known = np.isfinite(numbers)
    a, b = numbers[mine & known], numbers[other & known]
    if len(a) and len(b):
        ordered = np.sort(b)
        below = np.searchsorted(ordered, a, side="left") + np.searchsorted(ordered, a, side="right")
        best = abs(float(below.mean() / len(b)) - 1.0)
        text = [cell_text(schema, column, 0, _nearest(v, float(np.median(v)))) for v in (a, b)]
        said = f"{variable.name}: median {text[0]} against {text[1]}"
    for s in range(variable.states):
        if variable.numeric and not (variable.missing and s == variable.states - 1):
            continue
        one, two = float((state[mine] == s).mean()), float((state[other] == s).mean())
        if abs(one - two) > best:
            best = abs(one - two)
            said = f"{variable.name}: {cell_text(schema, column, s, np.nan)} in {one:.0%} against {two:.0%}"
    return best, said


def _nearest(values: Array, wanted: float) -> float:
    return float(values[np.argmin(np.abs(values - wanted))])
