"""``anomalies``: which rows are unusual, by how much chance, in which columns, and what would be usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import central_ranks, discoveries, lower_ranks
from diffeo.errors import DataError, at_least, number
from diffeo.tables.variable import Encoded
from diffeo.understanding.nearest import nearest_likely
from diffeo.understanding.plain import as_plain, chance, listing
from diffeo.understanding.subject import Subject, cell_text
from diffeo.understanding.surprisal import surprisals

Array = NDArray[np.float64]

#: Held-out rows with a lower log-density than this share of them are not what "likely" means.
LIKELY = 0.25


@dataclass(frozen=True)
class Surprise:
    """One cell of an unusual row.

    Attributes:
        column: its column.
        value: the cell, as text.
        surprisal: −log p(cell | rest of the row), in nats.
        error: of the quadrature, in nats.
        p: the share of held-out rows whose cell of this column surprises as much, (1 + k) / (n + 1).
        adjusted: corrected for all columns of the row: the share of held-out rows of which any column is as
            far beyond its usual surprisals (the largest of several statistics; Westfall & Young, 1993).
    """

    column: str
    value: str
    surprisal: float
    error: float
    p: float
    adjusted: float


@dataclass(frozen=True)
class Change:
    """A cell that the nearest likely row has otherwise."""

    column: str
    value: str
    instead: str


@dataclass(frozen=True)
class Unusual:
    """One unusual row, explained.

    Attributes:
        row: its number in the data, from 0.
        log_prob: log p(row), in nats.
        p: see :class:`Anomalies`.
        cells: its columns, the most surprising first.
        changes: what the nearest likely row has otherwise; () where none was found.
        nearest_log_prob: log p of that row.
    """

    row: int
    log_prob: float
    p: float
    cells: tuple[Surprise, ...]
    changes: tuple[Change, ...]
    nearest_log_prob: float

    def in_words(self) -> str:
        """Return the row in a sentence or two."""
        said = f"row {self.row} ({chance(self.p)})"
        marked = [cell for cell in self.cells if cell.adjusted <= 0.05]
        if marked:
            said += ": unusual in " + listing([f"{c.column} = {c.value}" for c in marked], 3)
            said += ", given its other cells"
        elif self.cells:
            first = self.cells[0]
            said += f": no single cell accounts for it; {first.column} = {first.value} comes nearest"
        if self.changes:
            instead = [f"{c.column} = {c.instead} instead of {c.value}" for c in self.changes]
            said += f". It would be likely with {listing(instead, 4)}"
        return said + "."


@dataclass(frozen=True)
class Anomalies:
    """How unusual rows are, calibrated on held-out ones. Indices are those of the data.

    Attributes:
        log_prob: log p of each row, in nats. By itself it says little: it has the columns' units, and a
            density is high where few rows are.
        by_density: conformal p-value of each row's log p, low where the density is.
        by_typicality: conformal p-value of its distance from the median of held-out rows, on either side.
        p: both together, min(1, 2 · the lesser): of rows like the held-out ones a share α
            has p ≤ α at most.
        held: how many held-out rows calibrated it: no p-value is below 2 / (held + 1).
        own: whether these were the model's own held-out rows (scored by models not trained on them).
        trained: the share of the data that the model was trained on: such rows look more usual than new
            ones. NaN where that is not known.
        strangest: the rows that were explained, the most unusual first.
    """

    log_prob: Array
    by_density: Array
    by_typicality: Array
    p: Array
    held: int
    own: bool
    trained: float
    strangest: tuple[Unusual, ...]

    def unusual(self, rate: float = 0.05) -> NDArray[np.int64]:
        """Return the rows with p ≤ ``rate``: the share of usual rows that may be called unusual."""
        number("rate", rate, above=0, below=1)
        return np.flatnonzero(self.p <= rate)

    def discovered(self, rate: float = 0.1) -> NDArray[np.int64]:
        """Return rows of which a share of ``rate`` at most is usual (Benjamini–Hochberg over all rows).

        For the rows of one table together this is the figure to act on; see
        :func:`~diffeo.diagnostics.significance.discoveries`.
        """
        return np.flatnonzero(discoveries(self.p, rate))

    def in_words(self) -> str:
        """Return what was found, in a few lines."""
        n = len(self.p)
        whose = "the model's own" if self.own else "the given"
        lines = [
            f"{len(self.unusual())} of {n} rows have p ≤ 0.05, where {0.05 * n:.1f} would by chance; "
            f"{len(self.discovered())} stand out beyond chance (false discovery rate 10 %). Calibrated on "
            f"{self.held} held-out rows ({whose})."
        ]
        if 2 / (self.held + 1) > 0.1 / n:
            lines.append(
                f"No p-value can be below {2 / (self.held + 1):.2g} with so few held-out rows: to tell one "
                f"row among {n} from chance it takes {20 * n}."
            )
        if self.trained > 0.01:
            lines.append(
                f"The model was trained on {100 * self.trained:.0f} % of these rows: they look more usual "
                "than new rows do."
            )
        lines += [one.in_words() for one in self.strangest]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {**as_plain(self), "words": self.in_words()}

    def __str__(self) -> str:
        return self.in_words()


def anomalies(
    model: Any,
    data: Any,
    *,
    held: Any = None,
    explain: int = 5,
    reference: int = 100,
    random_state: int = 0,
) -> Anomalies:
    """Return how unusual the rows of ``data`` are under a model, with p-values that mean what they say.

    A raw likelihood is never the answer: a row is compared with held-out rows, by its log-density and by
    how far that is from the median on either side (a row can be too likely: the mode of a density in many
    dimensions is where no row is). For the strangest rows, every column is compared with held-out rows by
    its surprisal given the rest of the row, and the nearest likely row is searched.

    Args:
        model: a fitted ``FlowDensity`` without context.
        data: the rows in question, a table as ``fit`` was given.
        held: rows like those of ``fit`` that the model was **not** trained on. Then P(p ≤ α) ≤ α holds
            exactly for rows like them. None takes the rows that ``fit`` held out; where these were held out
            in folds, the p-values of new rows come out a little too large.
        explain: how many rows to explain, the most unusual first.
        reference: held-out rows whose surprisals the columns are compared with. Time grows with it times
            the columns.
        random_state: seed of the choice of these.

    Raises:
        ConfigError: the model is none of these.
        DataError: a table has no rows, or half the held-out ones have density 0.

    Sources: Vovk, Gammerman & Shafer (2005), for the p-values; Nalisnick et al., *Do deep generative models
    know what they don't know?* (2019), for what a raw likelihood does; Nalisnick et al., *Detecting
    out-of-distribution inputs to deep generative models using typicality* (2019).

    >>> import diffeo
    >>> draws = np.random.default_rng(0)
    >>> x = draws.normal(size=(300, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]])
    >>> model = diffeo.FlowDensity("gaussian", max_steps=10, random_state=0).fit(x)
    >>> found = anomalies(model, np.array([[0.1, 0.0], [1.0, -2.0]]), explain=1, reference=50)
    >>> found.unusual(0.05).tolist(), found.strangest[0].row
    ([1], 1)
    """
    at_least("explain", explain, 0)
    at_least("reference", reference, 1)
    at_least("random_state", random_state, 0)
    subject = Subject.of(model, "anomalies")
    rows = subject.encode(data, "data")
    usual = subject.held_out() if held is None else subject.encode(held, "held")
    scores = subject.model.density_.held if held is None or usual is None else subject.log_prob(usual)
    scores = np.sort(np.where(np.isnan(scores), -np.inf, scores))
    log_p = subject.log_prob(rows)
    log_p = np.where(np.isnan(log_p), -np.inf, log_p)
    by_density, by_typicality = lower_ranks(scores, log_p), central_ranks(scores, log_p)
    p = np.minimum(1.0, 2 * np.minimum(by_density, by_typicality))
    order = np.lexsort((log_p, p))[:explain]
    strangest = ()
    if explain:
        if usual is None:
            raise DataError(
                "held is not given, and the model came from a file without its rows; expected held-out "
                "rows to compare columns with: pass held=…, or explain=0."
            )
        wanted = float(np.quantile(scores, LIKELY, method="lower"))
        strangest = _explained(subject, rows, order, log_p, p, usual, wanted, reference, random_state)
    return Anomalies(
        log_p,
        by_density,
        by_typicality,
        p,
        len(scores),
        held is None,
        subject.trained_share(rows),
        strangest,
    )


def _explained(
    subject: Subject,
    rows: Encoded,
    order: NDArray[np.int64],
    log_p: Array,
    p: Array,
    usual: Encoded,
    wanted: float,
    reference: int,
    seed: int,
) -> tuple[Unusual, ...]:
    """Return the rows in ``order``, each with its columns compared and the nearest likely row."""
    usual = usual.rows(np.flatnonzero(np.isfinite(subject.log_prob(usual))))
    chosen = np.random.default_rng([seed, 1]).permutation(len(usual))[:reference]
    variables, names = subject.variables, subject.names
    compared, _ = surprisals(subject.log_prob, variables, usual.rows(chosen), usual)
    own, error = surprisals(subject.log_prob, variables, rows.rows(order), usual)
    low, middle, high = np.quantile(compared, (0.25, 0.5, 0.75), axis=0)
    spread = np.maximum(high - low, 0.05)
    largest = ((compared - middle) / spread).max(axis=1)
    found = list[Unusual]()
    for k, row in enumerate(order):
        one = rows.rows(np.array([row]))
        known = np.flatnonzero(~np.isnan(own[k]))
        each = np.array([lower_ranks(-compared[:, j], -own[k, j : j + 1])[0] for j in known])
        beyond = (own[k, known] - middle[known]) / spread[known]
        adjusted = lower_ranks(-largest, -beyond)
        cells = [
            Surprise(
                names[j],
                cell_text(subject.schema, int(j), int(one.state[0, j]), float(one.value[0, j])),
                float(own[k, j]),
                float(error[k, j]),
                float(each[i]),
                float(adjusted[i]),
            )
            for i, j in enumerate(known)
        ]
        # Among equal ranks the one further beyond what held-out rows have comes first.
        ranked = [cells[i] for i in np.lexsort((-beyond, each))]
        changes, best = (), float("nan")
        if log_p[row] < wanted:
            ascent = nearest_likely(subject.log_prob, variables, one, usual, wanted)
            changes, best = _changes(subject, one, ascent.row, ascent.changed), ascent.log_prob
        found.append(Unusual(int(row), float(log_p[row]), float(p[row]), tuple(ranked), changes, best))
    return tuple(found)


def _changes(
    subject: Subject, row: Encoded, other: Encoded, columns: tuple[int, ...]
) -> tuple[Change, ...]:
    told = list[Change]()
    for j in columns:
        old, new = (
            cell_text(subject.schema, j, int(one.state[0, j]), float(one.value[0, j]))
            for one in (row, other)
        )
        told.append(Change(subject.names[j], old, new))
    return tuple(told)
