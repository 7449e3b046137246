"""What would balance a table: weights of its rows, and rows that are made, marked as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, at_least, number, one_of
from diffeo.understanding.given_group import GivenGroup
from diffeo.understanding.groups import Groups, cells_of
from diffeo.understanding.plain import as_plain

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """Weights of rows, of mean 1, and what they do.

    Attributes:
        weights: one for each row of the data; 0 for rows that cannot be under the schema.
        goal: what they are for.
        effective: (Σw)² / Σw², of so many rows.
        rows: how many have a weight.
        clipped: the share that had its weight cut off.
        before: for each column, how much it tells of the group, in nats, over cells.
        after: the same of weighted rows.
    """

    weights: Array
    goal: str
    effective: float
    rows: int
    clipped: float
    before: dict[str, float]
    after: dict[str, float]

    def in_words(self) -> str:
        """Return what they do."""
        before, after = sum(self.before.values()), sum(self.after.values())
        return (
            f"Weights for {self.goal}: {self.rows} rows count as {self.effective:.0f}; "
            f"{100 * self.clipped:.1f} % were cut off. What single columns tell of the group goes from "
            f"{before:.3f} to {after:.3f} nats together."
            + (
                " They do not balance it: the densities of the groups were not learned well enough. Give "
                "audit more max_steps or time."
                if self.goal == "independence" and after >= before
                else ""
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {**as_plain(self), "words": self.in_words()}


@dataclass(frozen=True)
class Synthetic:
    """Rows that a model made: no row of them was ever observed.

    Attributes:
        table: the rows, with a column ``synthetic`` that is True where the table has named columns.
        group: the group they were made for.
        rows: how many.
        synthetic: True.
    """

    table: Any
    group: str
    rows: int
    synthetic: bool = True


def weights_for(groups: Groups, density: GivenGroup, goal: str, most: float, count: int) -> Weights:
    """Return weights under which groups have equal shares, or columns tell nothing of the group.

    "shares": w = 1 / (groups · share of the group). "independence": w = p(x) / p(x | group), by which the
    weighted p(x, group) is p(x) · p(group); at most ``most`` times the mean of its group.

    Source of the latter, for single columns: Kamiran & Calders, *Data preprocessing techniques for
    classification without discrimination* (2012).
    """
    one_of("goal", goal, ("independence", "shares"))
    number("most", most, above=1)
    share = np.array(groups.sizes) / len(groups.member)
    if goal == "shares":
        weight, clipped = 1 / (len(share) * share[groups.member]), 0.0
    else:
        log_p = density.log_probs(groups.rows)
        whole = np.logaddexp.reduce(log_p + np.log(share), axis=1)
        weight = np.exp(whole - log_p[np.arange(len(groups.member)), groups.member])
        cut = np.zeros(len(weight), dtype=bool)
        for k in range(len(share)):
            mine = groups.member == k
            ceiling = most * weight[mine].mean()
            cut |= mine & (weight > ceiling)
            weight[mine] = np.minimum(weight[mine], ceiling)
            weight[mine] /= weight[mine].mean()
        clipped = float(cut.mean())
    placed = np.zeros(count)
    placed[groups.kept] = weight
    even = np.ones(len(weight))
    names = [groups.variables[j].name for j in groups.features]
    before, after = (
        dict(zip(names, [_told(groups, j, w) for j in groups.features], strict=True))
        for w in (even, weight)
    )
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    return Weights(placed, goal, effective, len(weight), clipped, before, after)


def _told(groups: Groups, column: int, weight: Array) -> float:
    """Return the information of weighted rows between group and the cells of a column, in nats."""
    cell, cells = cells_of(groups.variables[column], groups.rows, column)
    kinds = len(groups.labels)
    table = np.bincount(groups.member * cells + cell, weight, kinds * cells).reshape(kinds, cells)
    table /= table.sum()
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    full = table > 0
    return float((table[full] * np.log(table[full] / expected[full])).sum())


def synthetic_rows(
    groups: Groups, density: GivenGroup, of_outcome: GivenGroup | None, group: str, n: int, seed: int
) -> Synthetic:
    """Return rows drawn from p(columns | group), marked."""
    at_least("n", n, 1)
    if group not in groups.labels:
        raise ConfigError(f"group={group!r} is not known; expected one of {', '.join(groups.labels)}.")
    place = groups.labels.index(group)
    some = groups.rows.rows(np.zeros(n, np.int64))
    some.state[:, groups.group] = groups.states[place]
    rows = density.sample(some, place, seed)
    if of_outcome is not None:
        rows = of_outcome.sample(rows, place, seed + 1)
    table = groups.schema.decode(rows)
    library = groups.schema.library
    if library == "pandas":
        table["synthetic"] = True
    elif library == "polars":
        import polars as pl

        table = table.with_columns(pl.lit(True).alias("synthetic"))
    elif library == "pyarrow":
        table = table.append_column("synthetic", [[True] * n])
    return Synthetic(table, group, n)
