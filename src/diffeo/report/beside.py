"""Rows beside other rows: draws from the model, other groups, an earlier time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit import Marginals, marginals, overfitting_gap
from diffeo.diagnostics.fit.finding import LEVEL, said_p
from diffeo.report import figures
from diffeo.report.draft import Draft
from diffeo.report.subject import Rows

#: Columns that are drawn, pairs that are listed, groups that are compared, at most.
_COLUMNS, _PAIRS, _GROUPS = 30, 10, 12

#: Rows that a group must have to be compared.
_FEWEST = 10


def compare_columns(draft: Draft) -> None:
    """Write the section on columns and pairs."""
    section = draft.section("columns", "Columns and pairs: data over model")
    rows, draws = draft.rows.columns, draft.subject.draws.columns
    shown = draft.subject.shown
    found = marginals(rows, draws, seed=draft.seed, shown=shown)
    draft.find(section, "marginals", found)
    right = all(one.p > LEVEL for one in (*found.columns, *found.pairs))
    draft.say("good" if right else "look", found.in_words())
    for k, column in enumerate(found.columns[:_COLUMNS]):
        said = column.said if column.p <= LEVEL else "alike, to within chance"
        name = column.name
        section.drawings.append(
            figures.of_column(f"column{k}", name, rows[name], draws[name], said, shown.get(name))
        )
    if len(found.columns) > _COLUMNS:
        section.words.append(f"The {_COLUMNS} columns that are farthest apart are drawn.")
    if found.pairs:
        listed: list[tuple[Any, ...]] = [
            (pair.first, pair.second, f"{100 * pair.distance:.1f} %", said_p(pair.p))
            for pair in found.pairs[:_PAIRS]
        ]
        headings = ("first", "second", "rows in other cells", "corrected")
        section.tables.append(("The pairs of columns that are farthest apart", headings, listed))


def compare_groups(draft: Draft, labels: NDArray[Any], group: str) -> None:
    """Write the section on groups: rows, nats with intervals, columns that differ.

    Args:
        draft: the report.
        labels: the group of each row.
        group: the column that they are of.
    """
    section = draft.section("groups", f"Groups of {group}")
    rows = draft.rows
    names, counts = np.unique(labels, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:_GROUPS]]
    entries: list[tuple[str, float, float, float]] = []
    told: list[dict[str, Any]] = []
    for name in shown:
        mine = rows.log_p[labels == name]
        half = float(2 * mine.std(ddof=1) / len(mine) ** 0.5) if len(mine) > 1 else float("inf")
        mean = float(mine.mean())
        entries.append((f"{name} ({len(mine):,} rows)", mean, mean - half, mean + half))
        told.append({"group": name, "rows": len(mine), "nats": mean, "half_interval": half})
    about = "Mean log p of each group's rows with two standard errors; small groups have wide intervals."
    section.drawings.append(
        figures.of_intervals("groupnats", "Nats by group", "nats a row", entries, about)
    )
    first, differ = labels == shown[0], list[str]()
    apart: dict[str, Marginals] = {}
    for name in shown[1:]:
        other = labels == name
        if min(first.sum(), other.sum()) < _FEWEST:
            section.words.append(f"{name!r} has too few rows ({int(other.sum())}) for a comparison.")
            continue
        found = marginals(*(_without(rows, group, part) for part in (first, other)), pairs_of=0)
        apart[name] = found
        section.tables.append((f"Columns in {shown[0]!r} and {name!r}", *_moved(found, 10)))
        # Corrected for the number of groups as well as of columns.
        differ += [c.name for c in found.columns if c.p <= LEVEL / max(len(shown) - 1, 1)]
    named = ", ".join(repr(name) for name in dict.fromkeys(differ))
    said = (
        f"Between groups of {group!r} these columns differ by more than chance: {named}. Whether that "
        "is bias is a question about where the rows come from."
        if differ
        else f"Between groups of {group!r} no column differs by more than chance explains."
    )
    section.words.insert(0, said)
    draft.say("look" if differ else "good", said)
    draft.figures["groups"] = {"of": group, "nats": told, "columns": apart}


def compare_reference(draft: Draft, before: Rows) -> None:
    """Write the section on drift: the rows beside those of a reference."""
    section = draft.section("drift", "Drift: these rows beside the reference")
    found = marginals(before.columns, draft.rows.columns, seed=draft.seed)
    finite = before.log_p[np.isfinite(before.log_p)]
    moved = [column for column in found.columns if column.p <= LEVEL]
    named = ", ".join(repr(column.name) for column in moved[:6])
    said = (
        f"{len(moved)} of {len(found.columns)} columns moved since the reference: {named}."
        if moved
        else f"None of {len(found.columns)} columns moved since the reference by more than chance explains."
    )
    if len(finite):
        gap = overfitting_gap(draft.rows.log_p, finite)
        which = "likelier" if gap.gap > 0 else "less likely"
        said += (
            f" These rows are {abs(gap.gap):.3f} ± {gap.error:.3f} nats a row {which} than the reference's"
        )
        said += ", as they would be if the reference was trained on." if gap.gap < 0 else "."
        draft.figures["drift_gap"] = gap
    if len(finite) < len(before):
        said += f" {len(before) - len(finite)} of the reference's rows have density 0."
    section.words.append(said)
    draft.say("look" if moved else "good", said)
    draft.figures["drift"] = found
    section.tables.append(("Columns, those that moved most first", *_moved(found, 20)))


def _without(rows: Rows, group: str, index: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    return {name: values[index] for name, values in rows.columns.items() if name != group}


def _moved(found: Marginals, most: int) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    listed: list[tuple[Any, ...]] = [
        (c.name, f"{100 * c.distance:.1f} %", said_p(c.p)) for c in found.columns[:most]
    ]
    return ("column", "% of rows elsewhere", "corrected"), listed
