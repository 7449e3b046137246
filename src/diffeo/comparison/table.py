"""The table of a comparison: what each model says of the density and costs, and how its draws are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diffeo.comparison.measuring import Beside, Entry

if TYPE_CHECKING:
    from diffeo.comparison.result import Comparison

_NOTHING = "—"

#: Budgets are kept to within this factor, or it is said.
_TOO_LONG = 1.2


def as_tables(result: Comparison) -> Any:
    """Return the tables, for a console of rich."""
    from rich.console import Group
    from rich.text import Text

    several = len({entry.seed for entry in result.entries}) > 1
    parts: list[Any] = [Text(_heading(result)), *(Text(note) for note in result.rows.notes)]
    parts += [Text(""), _densities(result, several), Text(""), _samples(result, several)]
    if several:
        parts += [Text(""), _spread(result)]
    parts += [Text(""), *(Text(line) for line in _remarks(result))]
    return Group(*parts)


def as_text(result: Comparison) -> str:
    """Return the tables as text."""
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=132, highlight=False, color_system=None)
    console.print(as_tables(result))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().splitlines())


def _heading(result: Comparison) -> str:
    rows = result.rows
    shape = f"{rows.features} columns" if not rows.images else "images of " + "×".join(map(str, rows.event))
    return (
        f"{rows.name}: {len(rows.train):,} rows to train on, {len(rows.held):,} held out, {shape}; "
        f"{result.time_budget:g} s to train"
    )


def _densities(result: Comparison, several: bool) -> Any:
    left = ["model", *(["seed"] if several else []), "density"]
    right = ["held-out nats a row", "fit s", "score µs", "sample µs", "parameters"]
    table = _table(left, right)
    for entry in (*result.entries, result.reference):
        own = entry is result.reference
        seconds = f"{entry.fit_seconds:.1f}" if math.isfinite(entry.fit_seconds) else _NOTHING
        unbounded = not own and entry.budget is None and not entry.failed
        table.add_row(
            *_names(entry, several, own),
            "failed" if entry.failed else entry.density,
            nats_of(entry),
            f"{seconds} *" if unbounded else f"{seconds}  ",
            _micro(entry.score_seconds),
            _micro(entry.sample_seconds),
            f"{entry.n_parameters:,}" if entry.n_parameters else _NOTHING,
            style="dim" if own else None,
        )
    return table


def _samples(result: Comparison, several: bool) -> Any:
    right = ["told apart", "MMD²", "energy", "precision", "recall", "density", "coverage", "near training"]
    table = _table(["samples of", *(["seed"] if several else [])], right)
    for entry in (*result.entries, result.reference):
        own = entry is result.reference
        cells = [_NOTHING] * len(right) if entry.beside is None else _cells(entry.beside)
        table.add_row(*_names(entry, several, own), *cells, style="dim" if own else None)
    return table


def _cells(beside: Beside) -> list[str]:
    regions, copies, classifier = beside.regions, beside.memorisation, beside.classifier
    return [
        f"{classifier.accuracy:.1%}{_mark(classifier.p_value)}",
        f"{beside.mmd.squared:.4f}{_mark(beside.mmd.p_value)}",
        f"{beside.energy.value:.4f}{_mark(beside.energy.p_value)}",
        f"{regions.precision:.2f}",
        f"{regions.recall:.2f}",
        f"{regions.density:.2f}",
        f"{regions.coverage:.2f}",
        _NOTHING
        if copies is None
        else f"{copies.share:.2f} of {copies.expected:.2f}{_mark(copies.p_value)}",
    ]


def _mark(p_value: float) -> str:
    return " !" if p_value < 0.01 else "  "


def nats_of(entry: Entry) -> str:
    """Return held-out nats with their error; a bound is marked as one.

    >>> nats_of(Entry("VAE", 0, "lower bound", nats=-3.25, error=0.014))
    '≥ -3.250 ± 0.014'
    """
    if math.isnan(entry.nats):
        return _NOTHING
    bound = "≥ " if entry.density == "lower bound" else ""
    if math.isinf(entry.nats):
        scores = entry.scores
        count = "some" if scores is None else int((~(scores > -math.inf)).sum())
        return f"{bound}-∞ ({count} rows of density 0)"
    return f"{bound}{entry.nats:.3f} ± {entry.error:.3f}"


def _spread(result: Comparison) -> Any:
    """Return the mean over seeds, with the least and the largest."""
    table = _table(["over seeds (from … to)"], ["held-out nats", "told apart", "coverage", "fit s"])
    for name in result.names:
        entries = result.of(name)
        table.add_row(
            name,
            _range([entry.nats for entry in entries], "{:.3f}"),
            _range([e.beside.classifier.accuracy for e in entries if e.beside], "{:.1%}"),
            _range([e.beside.regions.coverage for e in entries if e.beside], "{:.2f}"),
            _range([entry.fit_seconds for entry in entries], "{:.1f}"),
        )
    return table


def _range(values: list[float], form: str) -> str:
    if not values or any(math.isnan(value) for value in values):
        return _NOTHING
    show: Callable[[float], str] = form.format
    if math.isinf(sum(values)):
        return "-∞"
    return f"{show(sum(values) / len(values))} ({show(min(values))} … {show(max(values))})"


def _remarks(result: Comparison) -> list[str]:
    lines = [
        "told apart: held-out rows and draws that a classifier puts where they belong, 50 % is chance; "
        "! p < 0.01.",
        "near training: draws whose nearest row was trained on, of the share that chance gives.",
    ]
    if any(entry.budget is None and not entry.failed for entry in result.entries):
        lines.append(f"* takes what it needs; the others trained for {result.time_budget:g} s.")
    if any(entry.density == "lower bound" for entry in result.entries):
        lines.append("≥ a lower bound of log p: the model's own nats may be higher.")
    for name in result.names:
        reasons = {e.no_density for e in result.entries if e.model == name and e.no_density}
        # An error's first sentence says why; the rest is for whoever asked.
        lines += [f"{name}: {reason.split('. ')[0].rstrip('.')}." for reason in sorted(reasons)]
    for entry in result.entries:
        who = f"{entry.model} (seed {entry.seed})"
        if entry.failed:
            lines.append(f"{who} failed: {entry.failed}")
        if entry.budget is not None and entry.fit_seconds > _TOO_LONG * entry.budget:
            lines.append(f"{who} trained for {entry.fit_seconds:.1f} s, longer than its budget.")
        if entry.bad_draws:
            what = "they were left out" if entry.beside is not None else "its draws were not measured"
            lines.append(f"{who}: {entry.bad_draws:.1%} of its draws were not finite; {what}.")
    return lines


def _table(left: list[str], right: list[str]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in left:
        table.add_column(heading, no_wrap=heading != "density")
    for heading in right:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _names(entry: Entry, several: bool, own: bool) -> list[str]:
    return [entry.model, *([_NOTHING if own else str(entry.seed)] if several else [])]


def _micro(seconds: float) -> str:
    return _NOTHING if math.isnan(seconds) else f"{1e6 * seconds:.3g}"
