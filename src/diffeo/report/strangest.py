"""The likelihood of the rows, and the strangest of them: how rare that is, and which cells are to blame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, said_p
from diffeo.report import figures
from diffeo.report.draft import Draft
from diffeo.report.subject import Rows
from diffeo.report.svg import number

if TYPE_CHECKING:
    from diffeo.understanding.anomalies import Unusual

_SHOWN, _CELLS = 10, 3

#: Rows that are explained (seconds each); draws that calibrate, and those whose surprisals the cells are compared with.
_EXPLAINED, _USUAL, _COMPARED = 1, 400, 20

#: A residual nearer to 0 than this is not unusual.
_UNUSUAL = 1.5

#: Corrected p-values up to this mark a cell.
_MARKED = 0.05


def find_strangest(draft: Draft) -> None:
    """Write the section on likelihoods.

    p of a row is that of a conformal test: (1 + held-out rows as unlikely) / (held-out rows + 1), whose
    rate of
    false alarms is right for any density; a raw likelihood has none.
    """
    section = draft.section("likelihoods", "Likelihood, and the strangest rows")
    rows, subject = draft.rows, draft.subject
    section.drawings.append(figures.of_likelihood(rows, subject.draws))
    known = subject.held is not None
    held = np.sort(subject.draws.log_p) if subject.held is None else subject.held
    p = (1 + np.searchsorted(held, rows.log_p, side="right")) / (len(held) + 1)
    listed: list[tuple[Any, ...]] = []
    strange: list[dict[str, Any]] = []
    lowest = np.argsort(rows.log_p, kind="stable")[:_SHOWN]
    for k, why in zip(lowest.tolist(), _reasons(draft, lowest), strict=True):
        row, log_p = int(rows.index[k]) + 1, float(rows.log_p[k])
        listed.append((row, number(log_p), number(float(p[k])), why))
        strange.append({"row": row, "log_p": log_p, "p": float(p[k]), "why": why})
    section.tables.append(
        ("The ten least likely rows, counted from 1", ("row", "log p", "p", "what is unusual"), listed)
    )
    few, expected = int((p <= LEVEL).sum()), LEVEL * len(p)
    section.words.append(
        f"p is the share of the {len(held):,} {'held-out rows of the fit' if known else 'draws'} that "
        f"are as "
        f"unlikely: a raw likelihood has no scale. {few} of {len(p):,} rows have p ≤ {LEVEL:g}, where "
        f"{expected:.0f} would by chance. A row can also be too likely to be typical: compare the "
        f"histograms."
    )
    draft.figures["strangest"] = strange
    first = strange[0]
    draft.say(
        "told",
        f"The least likely row is row {first['row']} (log p {number(first['log_p'])}, "
        f"{said_p(first['p'])} by "
        f"itself, the least of {len(p):,}): {first['why']}.",
    )


def _reasons(draft: Draft, chosen: NDArray[np.int64]) -> list[str]:
    """Return for each of the rows, the strangest first, which of its cells are unusual.

    The first is explained: each cell's surprisal given all others is compared with that in draws from
    the model, and the nearest likely row is searched, which takes seconds a row. Of the others the largest
    residuals are told, and where there are none the first cells.
    """
    subject, rows = draft.subject, draft.rows
    if subject.density is None or subject.tables is None or rows.residuals is None:
        names = list(rows.columns)[:_CELLS]
        return [", ".join(f"{name} = {_cell(rows.columns[name][k])}" for name in names) for k in chosen]
    from diffeo.understanding import anomalies

    found = anomalies(
        subject.density,
        subject.tables(draft.places[chosen[:_EXPLAINED]]),
        held=subject.density.sample(_USUAL, draft.seed),
        explain=_EXPLAINED,
        reference=_COMPARED,
        random_state=draft.seed,
    )
    explained = sorted(found.strangest, key=_row)
    draft.figures["explained"] = explained
    rest = [_residuals(subject.columns, rows, int(k)) for k in chosen[_EXPLAINED:]]
    return [*map(_told, explained), *rest]


def _row(one: Unusual) -> int:
    return one.row


def _residuals(columns: Sequence[str], rows: Rows, k: int) -> str:
    """Return the cells of a row with the largest residuals."""
    assert rows.residuals is not None
    z = np.nan_to_num(rows.residuals[k])
    order = np.argsort(-np.abs(z))[:_CELLS].tolist()
    worst = [j for j in order if abs(z[j]) > _UNUSUAL] or order[:1]
    return ", ".join(f"{columns[j]} = {_cell(rows.columns[columns[j]][k])} ({z[j]:+.1f} σ)" for j in worst)


def _told(one: Unusual) -> str:
    """Return what is unusual in a row, in half a sentence."""
    marked = [cell for cell in one.cells if cell.adjusted <= _MARKED][:_CELLS]
    if marked:
        said = ", ".join(f"{cell.column} = {cell.value}" for cell in marked) + ", given its other cells"
    elif one.cells:
        said = f"no single cell; {one.cells[0].column} = {one.cells[0].value} comes nearest"
    else:
        said = "no cell by itself"
    if one.changes:
        changes = ", ".join(f"{c.column} = {c.instead}" for c in one.changes[:_CELLS])
        said += f" (likely with {changes})"
    return said


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.40}"
