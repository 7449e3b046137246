"""The likelihood of the rows, and the strangest of them: how rare that is, and which cells are to blame."""

from __future__ import annotations

from typing import Any

import numpy as np

from diffeo.diagnostics.fit.finding import LEVEL, said_p
from diffeo.report import figures
from diffeo.report.draft import Draft
from diffeo.report.svg import number

_SHOWN, _CELLS = 10, 3

#: A residual nearer to 0 than this is not unusual.
_UNUSUAL = 1.5


def find_strangest(draft: Draft) -> None:
    """Write the section on likelihoods.

    p of a row is that of a conformal test: (1 + held-out rows as unlikely) / (held-out rows + 1), whose
    rate of false alarms is right for any density; a raw likelihood has none. Of a mean of models of folds,
    whose held-out rows were scored by one of them, p is too large rather than too small.
    """
    section = draft.section("likelihoods", "Likelihood, and the strangest rows")
    rows, subject = draft.rows, draft.subject
    section.drawings.append(figures.of_likelihood(rows, subject.draws))
    known = subject.held is not None
    held = np.sort(subject.draws.log_p) if subject.held is None else subject.held
    p = (1 + np.searchsorted(held, rows.log_p, side="right")) / (len(held) + 1)
    listed: list[tuple[Any, ...]] = []
    strange: list[dict[str, Any]] = []
    for k in np.argsort(rows.log_p, kind="stable")[:_SHOWN].tolist():
        row, log_p, why = int(rows.index[k]) + 1, float(rows.log_p[k]), _why(draft, k)
        listed.append((row, number(log_p), number(float(p[k])), why))
        strange.append({"row": row, "log_p": log_p, "p": float(p[k]), "why": why})
    section.tables.append(
        ("The ten least likely rows, counted from 1", ("row", "log p", "p", "what is unusual"), listed)
    )
    few, expected = int((p <= LEVEL).sum()), LEVEL * len(p)
    section.words.append(
        f"p is the share of the {len(held):,} {'held-out rows of the fit' if known else 'draws'} that are "
        f"as unlikely: a raw likelihood has no scale. {few} of {len(p):,} rows have p ≤ {LEVEL:g}, where "
        f"{expected:.0f} would by chance. A row can also be too likely to be typical: compare the "
        f"histograms."
    )
    if subject.density is not None:
        section.words.append(
            "σ is a cell's residual, given the columns before it in the order of the model; "
            "diffeo.diagnostics.anomalies explains a row cell by cell, given all others."
        )
    draft.figures["strangest"] = strange
    first = strange[0]
    draft.say(
        "told",
        f"The least likely row is row {first['row']} (log p {number(first['log_p'])}, "
        f"{said_p(first['p'])} by itself, the least of {len(p):,}): {first['why']}.",
    )


def _why(draft: Draft, k: int) -> str:
    """Return which cells of a row are unusual: those with the largest residuals, or the first ones."""
    columns, rows = draft.subject.columns, draft.rows
    if draft.subject.density is None or rows.residuals is None:
        return ", ".join(f"{name} = {_cell(draft, name, k)}" for name in columns[:_CELLS])
    z = np.nan_to_num(rows.residuals[k])
    order = np.argsort(-np.abs(z))[:_CELLS].tolist()
    worst = [j for j in order if abs(z[j]) > _UNUSUAL] or order[:1]
    return ", ".join(f"{columns[j]} = {_cell(draft, columns[j], k)} ({z[j]:+.1f} σ)" for j in worst)


def _cell(draft: Draft, name: str, k: int) -> str:
    value: Any = draft.rows.columns[name][k]
    if value is None or value != value:
        return "missing"
    if name in draft.subject.shown:
        return draft.subject.shown[name](float(value))
    return f"{value:.6g}" if isinstance(value, float) else f"{value!s:.40}"
