"""What is done to a table before any method sees it: columns, ties, splits.

Columns. As in the tables of Papamakarios et al. (2017), columns that are no continuous quantity are left
out: constants, those with fewer than 20 distinct values, those of which one value makes up more than half
of the rows, or a tenth where it stands in a column of much finer values (see below: its cell would be
narrower than 1/200 of the middle nine tenths); then the later one of each pair correlated above .98.

Ties. A density with respect to Lebesgue measure does not exist where values repeat: any method that finds
the lattice gets any figure it likes. In a column of which more than a hundredth of the rows share their
value with another row, each value v is therefore spread evenly over [v − w/2, v + w/2), with w the
smallest of the distances to its two neighbours and the median such distance, so that cells do not overlap;
the least and the greatest value only inwards, so that what has a bound (0, 180°) keeps it. This is done
once, with a fixed seed, before rows are split: all methods get the same measure and rows.

Splits. A tenth of the rows, at most 10,000, for testing (a fifth of a table under 2,000 rows), as many of
the rest for validation, drawn anew for each seed. A set that was published with a split keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Distinct values below which a column is discrete.
DISTINCT = 20

#: The share of rows that makes a value an atom where its cell is narrow; how narrow; the share anywhere.
ATOM, NARROW, MOSTLY = 0.1, 1 / 200, 0.5

#: Correlation from which on the later column of a pair is left out.
TWINS = 0.98

#: Share of tied rows from which on a column is spread.
TIES = 0.01

#: Values are told apart to this share of a column's range: what is closer was rounded on its way.
FINE = 2.0**-30

#: Most rows of a test or validation part, and the rows below which a table is small.
MOST, SMALL = 10_000, 2_000


class Unusable(Exception):
    """A table has nothing left for a continuous density; the message says why."""


@dataclass(frozen=True)
class Table:
    """Numbers as a set has them.

    Attributes:
        x: rows × columns; NaN where a cell is empty.
        columns: their names.
        parts: rows of the published training, validation and test part, in this order; None: split anew.
        said: what a reader of the figures must know of these rows.
        published: whether densities are stated in the units of ``x``, as papers do; else in standardised
            ones.
    """

    x: Array
    columns: tuple[str, ...]
    parts: tuple[int, int, int] | None = None
    said: str = ""
    published: bool = False


@dataclass(frozen=True)
class Prepared:
    """A table as all methods get it, and what was left out of it."""

    table: Table
    dropped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    spread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """The three parts of one seed."""

    train: Array
    validation: Array
    test: Array


def prepared(table: Table) -> Prepared:
    """Return the table without holes, discrete columns, twins and ties; raise :class:`Unusable`."""
    x, names = np.asarray(table.x, np.float64), np.asarray(table.columns, dtype=object)
    dropped: dict[str, tuple[str, ...]] = {}

    def keep(kept: NDArray[np.bool_], why: str) -> None:
        nonlocal x, names
        if not kept.all():
            dropped[why] = tuple(names[~kept])
            x, names = x[:, kept], names[kept]

    keep(np.isfinite(x).mean(0) > 0.8, "with more than a fifth of holes")
    whole = np.isfinite(x).all(1)
    if not whole.all() and table.parts is not None:
        raise Unusable("the published split has rows with holes")
    if not whole.all():
        dropped["rows with holes"] = (f"{int((~whole).sum())}",)
        x = x[whole]
    keep(np.array([not _discrete(column) for column in x.T], bool), "discrete")
    keep(_without_twins(x), f"correlated above {TWINS}")
    if x.shape[1] < 2 or len(x) < 20:
        raise Unusable(f"{len(x)} rows × {x.shape[1]} continuous columns are left, of {len(table.columns)}")
    x, spread = _dequantised(x)
    kept = replace(table, x=x, columns=tuple(names))
    return Prepared(kept, dropped, tuple(names[spread]))


def split(table: Table, seed: int) -> Split:
    """Return the parts that every method gets under a seed."""
    x, parts = table.x, table.parts
    if parts is None:
        x, parts = x[np.random.default_rng(1_000 + seed).permutation(len(x))], sizes(len(x))
    train, validation, test = np.split(x, np.cumsum(parts)[:2])
    return Split(train, validation, test)


def sizes(rows: int) -> tuple[int, int, int]:
    """Return the rows of the training, validation and test part.

    >>> sizes(100), sizes(5_000), sizes(1_000_000)
    ((72, 8, 20), (4050, 450, 500), (980000, 10000, 10000))
    """
    test = rows // 5 if rows < SMALL else min(MOST, rows // 10)
    validation = min(MOST, (rows - test) // 10)
    return rows - test - validation, validation, test


@dataclass(frozen=True)
class _Ties:
    """The distinct values of a column, which of them each row has, and the width of each one's cell."""

    values: Array
    place: NDArray[np.intp]
    counts: NDArray[np.intp]
    widths: Array

    @classmethod
    def of(cls, column: Array) -> _Ties:
        low, unit = column.min(), np.ptp(column) * FINE
        steps = np.rint((column - low) / unit) if unit > 0 else np.zeros_like(column)
        values, place, counts = np.unique(steps, return_inverse=True, return_counts=True)
        gaps = np.diff(values)
        near = np.minimum(np.append(gaps, np.inf), np.append(np.inf, gaps))
        return cls(
            low + values * unit, place, counts, np.minimum(near, np.median(near[place])) * (unit or 1.0)
        )


def _discrete(column: Array) -> bool:
    ties = _Ties.of(column)
    share, cell = ties.counts.max() / len(column), ties.widths[ties.counts.argmax()]
    low, high = np.quantile(column, [0.05, 0.95])
    spike = share > ATOM and cell < NARROW * (high - low)
    return len(ties.counts) < DISTINCT or share > MOSTLY or bool(spike)


def _without_twins(x: Array) -> NDArray[np.bool_]:
    kept = np.ones(x.shape[1], bool)
    if x.shape[1] > 1:
        alike = np.abs(np.corrcoef(x[:100_000], rowvar=False)) > TWINS
        for k in range(1, len(kept)):
            kept[k] = not (alike[k, :k] & kept[:k]).any()
    return kept


def _dequantised(x: Array) -> tuple[Array, list[int]]:
    draws = np.random.default_rng(0)
    spread, found = [], x.copy()
    for k, column in enumerate(x.T):
        ties = _Ties.of(column)
        if (ties.counts[ties.place] > 1).mean() > TIES:
            ends = ties.values - ties.widths / 2, ties.values + ties.widths / 2
            low, high = (np.clip(end, ties.values[0], ties.values[-1])[ties.place] for end in ends)
            found[:, k] = low + draws.random(len(column)) * (high - low)
            spread.append(k)
    return found, spread
