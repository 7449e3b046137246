"""Rows beside draws, column by column and pair by pair: how far apart, and is that more than chance.

Numbers are compared by the largest distance of their distribution functions (Kolmogorov–Smirnov), labels
and holes by the total variation of their shares; both are shares of rows, so that columns can be ranked.
Pairs are cut into cells (numbers at the data's quantiles, holes and rare labels in cells of their own) and
compared by the total variation of the shares of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, Finding, axes, said_p
from diffeo.diagnostics.significance import holm
from diffeo.errors import ConfigError, DataError, at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Cells that a column of a pair is cut into, at most; besides one of holes.
_CELLS = 5


@dataclass(frozen=True)
class OfColumn:
    """One column: rows beside draws.

    Attributes:
        name: of the column.
        numeric: whether it holds numbers.
        distance: a share of rows: the distance of distribution functions, or the total variation.
        p: of a distance as large by chance, corrected for the number of columns.
        said: what is different, in a few words.
    """

    name: str
    numeric: bool
    distance: float
    p: float
    said: str


@dataclass(frozen=True)
class OfPair:
    """A pair of columns: total variation of the shares of cells, and its corrected p-value."""

    first: str
    second: str
    distance: float
    p: float


@dataclass(frozen=True)
class Marginals(Finding):
    """Rows beside draws.

    Attributes:
        columns: each column, those farthest apart first.
        pairs: the pairs, likewise.
        rows, draws: how many.
        pairs_of: how many columns the pairs are of.
    """

    columns: tuple[OfColumn, ...]
    pairs: tuple[OfPair, ...]
    rows: int
    draws: int
    pairs_of: int

    def in_words(self) -> str:
        """Return the figures in sentences."""
        bad = [column for column in self.columns if column.p <= LEVEL]
        if bad:
            told = "; ".join(f"{c.name!r} ({c.said}; {said_p(c.p)})" for c in bad[:4])
            more = f"; and {len(bad) - 4} more" if len(bad) > 4 else ""
            verb = "is" if len(bad) == 1 else "are"
            said = (
                f"{len(bad)} of {len(self.columns)} columns {verb} drawn otherwise than in the data: "
                f"{told}{more}."
            )
        else:
            said = f"Each of {len(self.columns)} columns is drawn as it is in the data, to within chance."
        wrong = [pair for pair in self.pairs if pair.p <= LEVEL]
        if wrong:
            pair = wrong[0]
            said += (
                f" {len(wrong)} of {len(self.pairs)} pairs of columns differ, most of all {pair.first!r} "
                f"with {pair.second!r} ({100 * pair.distance:.1f} % of the rows are in other cells)."
            )
        elif self.pairs:
            said += (
                f" So is each of {len(self.pairs)} pairs."
                if not bad
                else f" None of {len(self.pairs)} pairs differs."
            )
        return said

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the distance of each column."""
        ax = axes(ax)
        shown = self.columns[:25]
        colours = ["#c1440e" if column.p <= LEVEL else "#8d99ae" for column in shown]
        ax.barh(range(len(shown)), [100 * column.distance for column in shown], color=colours)
        ax.set_yticks(range(len(shown)), [column.name for column in shown])
        ax.invert_yaxis()
        ax.set_xlabel("% of rows that lie elsewhere")
        return ax


def marginals(
    rows: Mapping[str, Any],
    draws: Mapping[str, Any],
    *,
    pairs_of: int = 25,
    seed: int = 0,
    shown: Mapping[str, Callable[[float], str]] | None = None,
) -> Marginals:
    """Compare rows with draws, column by column and pair by pair.

    Args:
        rows: name → values of a column; numbers (NaN where missing), or labels (None where missing).
        draws: the same columns, drawn from the model.
        pairs_of: columns whose pairs are compared, those farthest apart, at most.
        seed: of the order of ties in rounded numbers.
        shown: how the numbers of some columns are told, as of those that are times.

    Raises:
        ConfigError: the columns are not the same.
        DataError: there are no rows.

    >>> x = np.random.default_rng(0).normal(size=(2, 500))
    >>> print(marginals({"a": x[0]}, {"a": x[1]}))
    Each of 1 columns is drawn as it is in the data, to within chance.
    >>> print(marginals({"a": x[0]}, {"a": x[1] + 1}))
    1 of 1 columns is drawn otherwise than in the data: 'a' (the model is higher, median 0.907 for ...
    """
    at_least("pairs_of", pairs_of, 0)
    at_least("seed", seed, 0)
    if list(rows) != list(draws):
        raise ConfigError(
            f"rows have columns {list(rows)!r:.100}, draws {list(draws)!r:.100}; expected the same."
        )
    data = {name: _as_column(values) for name, values in rows.items()}
    model = {name: _as_column(values) for name, values in draws.items()}
    if not data or not len(next(iter(data.values()))) or not len(next(iter(model.values()))):
        raise DataError("there are no columns or no rows to compare; expected at least one of each.")
    told = dict(shown or {})
    found = [_column(name, data[name], model[name], told.get(name, _three)) for name in data]
    raised = holm(np.array([p for _, p in found]))
    columns = [
        OfColumn(one.name, one.numeric, one.distance, float(p), one.said)
        for (one, _), p in zip(found, raised, strict=True)
    ]
    columns.sort(key=_distance, reverse=True)
    chosen = [column.name for column in columns[:pairs_of]]
    cells = {name: _cells(data[name], model[name]) for name in chosen}
    pairs = [_pair(a, b, cells[a], cells[b]) for k, a in enumerate(chosen) for b in chosen[k + 1 :]]
    raised = holm(np.array([pair.p for pair in pairs]))
    pairs = [OfPair(x.first, x.second, x.distance, float(p)) for x, p in zip(pairs, raised, strict=True)]
    pairs.sort(key=_distance, reverse=True)
    first = next(iter(data))
    return Marginals(tuple(columns), tuple(pairs), len(data[first]), len(model[first]), len(chosen))


def _as_column(values: Any) -> NDArray[Any]:
    found = np.asarray(values)
    if found.dtype.kind in "iufb":
        return found.astype(np.float64)
    return np.array([None if _hole(value) else str(value) for value in found.tolist()], dtype=object)


def _hole(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "f":
        return np.isnan(column)
    return np.array([value is None for value in column], bool)


def _three(value: float) -> str:
    return f"{value:.3g}"


def _column(
    name: str, data: NDArray[Any], model: NDArray[Any], text: Callable[[float], str]
) -> tuple[OfColumn, float]:
    """Return how one column compares, and its p-value before correction."""
    from scipy.stats import ks_2samp

    numeric = data.dtype.kind == "f" and model.dtype.kind == "f"
    holes, drawn = _missing(data), _missing(model)
    if not numeric:
        distance, p, said = _labels(data, model)
        return OfColumn(name, False, distance, p, said), p
    own, other = data[~holes], model[~drawn]
    off, p_holes = abs(holes.mean() - drawn.mean()), _homogeneous(_table(holes, drawn))
    if not len(own) or not len(other):
        return OfColumn(name, True, float(off), p_holes, _of_holes(holes, drawn)), p_holes
    compared = ks_2samp(own, other, method="asymp")
    apart, p = float(compared.statistic), float(compared.pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    few = np.union1d(np.unique(own[:5000]), np.unique(other[:5000]))
    if len(few) <= 20:  # steps: the asymptotic law of the distance would be too cautious
        p = _homogeneous(_table(own, other))
    if holes.any() or drawn.any():
        p = min(1.0, 2 * min(p, p_holes))
    if off > apart:
        return OfColumn(name, True, float(off), p, _of_holes(holes, drawn)), p
    return OfColumn(name, True, apart, p, _of_numbers(own, other, text)), p


def _of_holes(holes: NDArray[np.bool_], drawn: NDArray[np.bool_]) -> str:
    return f"missing in {100 * drawn.mean():.1f} % of the draws, {100 * holes.mean():.1f} % of the rows"


def _of_numbers(own: NDArray[np.float64], other: NDArray[np.float64], text: Callable[[float], str]) -> str:
    (a, low, high), (b, below, above) = (np.quantile(v, [0.5, 0.1, 0.9]).tolist() for v in (own, other))
    spread, width = high - low, above - below
    medians = f"median {text(b)} for {text(a)}"
    if abs(a - b) > 0.1 * max(spread, width):
        return f"the model is {'higher' if b > a else 'lower'}, {medians}"
    if spread > 0 and not 0.8 < width / spread < 1.25:
        which = "broader" if width > spread else "narrower"
        ends = f"{text(below)} … {text(above)} for {text(low)} … {text(high)}"
        return f"the model is {which}, 80 % within {ends}"
    return f"the model has another shape, {medians}"


def _labels(data: NDArray[Any], model: NDArray[Any]) -> tuple[float, float, str]:
    own, other = _as_labels(data), _as_labels(model)
    counts, names = _counted(own, other)
    shares = counts / counts.sum(1, keepdims=True)
    k = int(np.argmax(np.abs(shares[0] - shares[1])))
    said = (
        f"{names[k]!r:.40} is {100 * shares[1, k]:.1f} % of the draws, {100 * shares[0, k]:.1f} % of "
        f"the rows"
    )
    return float(0.5 * np.abs(shares[0] - shares[1]).sum()), _homogeneous(counts), said


def _as_labels(column: NDArray[Any]) -> NDArray[Any]:
    return np.array(
        ["(missing)" if value is None or value != value else str(value) for value in column.tolist()]
    )


def _counted(own: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[np.int64], list[str]]:
    names, place = np.unique(np.concatenate([own, other]), return_inverse=True)
    counts = [np.bincount(part, minlength=len(names)) for part in (place[: len(own)], place[len(own) :])]
    return np.stack(counts), [str(name) for name in names]


def _table(own: NDArray[Any], other: NDArray[Any]) -> NDArray[np.int64]:
    return _counted(own, other)[0]


def _homogeneous(counts: NDArray[np.int64]) -> float:
    """Return the p-value of equal shares (χ² test), cells expected below 5 put together."""
    from scipy.special import chdtrc

    total = counts.sum(1, keepdims=True)
    expected = total * counts.sum(0) / counts.sum()
    rare = expected.min(0) < 5
    if rare.any():
        counts = np.concatenate([counts[:, ~rare], counts[:, rare].sum(1, keepdims=True)], 1)
        expected = np.concatenate([expected[:, ~rare], expected[:, rare].sum(1, keepdims=True)], 1)
    degrees = counts.shape[1] - 1
    if degrees < 1:
        return 1.0
    statistic = float(((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum())
    return float(chdtrc(degrees, statistic))


def _cells(data: NDArray[Any], model: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cell of each row and of each draw; holes are in the last one."""
    if data.dtype.kind == "f" and model.dtype.kind == "f":
        known = data[~np.isnan(data)]
        edges = (
            np.unique(np.quantile(known, np.linspace(0, 1, _CELLS + 1)[1:-1]))
            if len(known)
            else np.zeros(0)
        )
        own, other = (np.searchsorted(edges, v, side="left").astype(np.int64) for v in (data, model))
    else:
        labels, other_labels = _as_labels(data), _as_labels(model)
        names, counts = np.unique(labels, return_counts=True)
        frequent = names[np.argsort(-counts, kind="stable")[: _CELLS - 1]]
        own, other = (
            (v[:, None] == frequent) @ np.arange(1, len(frequent) + 1) for v in (labels, other_labels)
        )
    return np.where(_missing(data), _CELLS, own), np.where(_missing(model), _CELLS, other)


def _pair(
    first: str,
    second: str,
    a: tuple[NDArray[np.int64], NDArray[np.int64]],
    b: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> OfPair:
    size = _CELLS + 1
    counts = np.stack([np.bincount(x * size + y, minlength=size * size) for x, y in zip(a, b, strict=True)])
    counts = counts[:, counts.sum(0) > 0]
    shares = counts / counts.sum(1, keepdims=True)
    return OfPair(first, second, float(0.5 * np.abs(shares[0] - shares[1]).sum()), _homogeneous(counts))


def _distance(one: OfColumn | OfPair) -> float:
    return one.distance
