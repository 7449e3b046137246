"""All that a report says of a model and its rows: findings first, then their words and figures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo._version import __version__
from diffeo.diagnostics.fit.finding import plain
from diffeo.errors import DataError, at_least
from diffeo.report.beside import compare_columns, compare_groups, compare_reference
from diffeo.report.draft import Draft, Section, numeric
from diffeo.report.judging import judge_fit
from diffeo.report.moulding import frames
from diffeo.report.provenance import describe_course, describe_moulding, verify_flow, write_card
from diffeo.report.strangest import find_strangest
from diffeo.report.subject import labels_of, subject_of
from diffeo.report.understood import audit_groups, say_drift

#: Rows that there must be at least.
_FEWEST = 10

#: Columns that can be paired on the page, and points of each.
_PAIRED, _POINTS = 12, 400


@dataclass
class Examination:
    """A report: its summary, its sections, its figures for machines.

    Attributes:
        title: of the page.
        summary: sentences, each with "good", "look" or "told".
        sections: the parts, in order.
        figures: plain JSON values of everything found.
        payload: what the page's script plays with.
    """

    title: str
    summary: list[tuple[str, str]]
    sections: list[Section]
    figures: dict[str, Any]
    payload: dict[str, Any]

    def in_words(self) -> str:
        """Return the summary."""
        return "\n".join(sentence for _, sentence in self.summary)

    def __str__(self) -> str:
        return self.in_words()

    def to_json(self) -> dict[str, Any]:
        """Return everything found, as plain JSON values."""
        summary = [{"verdict": verdict, "words": words} for verdict, words in self.summary]
        return {"title": self.title, "summary": summary, **self.figures}

    def html(self) -> str:
        """Return the page: one document that needs nothing else."""
        from diffeo.report.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, and return where."""
        target = Path(path)
        target.write_text(self.html(), encoding="utf-8")
        return target

    def print(self) -> None:
        """Print the report on the terminal, with small tables in place of figures."""
        from diffeo.report.terminal import show

        show(self)

    def _repr_html_(self) -> str:
        from diffeo.report.page import brief

        return brief(self)


def examine(
    model: Any,
    data: Any,
    *,
    group: str | None = None,
    reference: Any = None,
    seed: int = 0,
    name: str = "",
    progress: Callable[[str], None] | None = None,
) -> Examination:
    """Examine a density and rows: is the fit right, what is unusual, do groups and times differ?

    Args:
        model: a fitted :class:`~diffeo.FlowDensity` without context, a table model, or a flow of vectors.
        data: rows, best such that took no part in the fit.
        group: a column whose groups are compared.
        reference: a second table of the same columns, to which the data are compared (drift).
        seed: of draws and tests: the same seed, the same report.
        name: of the data, for the title.
        progress: told what is done next.

    Raises:
        ConfigError: the model is none that can be reported on, or the group is no column.
        DataError: the table does not have the model's columns.

    >>> import diffeo
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> model = diffeo.FlowDensity("gaussian", random_state=0).fit(x)
    >>> found = examine(model, x)
    >>> found.figures["rows"], found.html().startswith("<!doctype html>")
    (300, True)
    """
    tell = progress or _silent
    at_least("seed", seed, 0)
    tell("scoring rows, drawing others")
    subject = subject_of(model, data, seed=seed)
    labels = None if group is None else labels_of(subject.rows.columns, group)
    possible = np.isfinite(subject.rows.log_p)
    places = np.flatnonzero(possible)
    draft = Draft(subject, subject.rows.some(places), places, seed)
    draft.figures |= {
        "version": __version__,
        "kind": subject.kind,
        "columns": list(subject.columns),
        "rows": subject.total,
        "rows_looked_at": len(subject.rows),
        "impossible_rows": int((~possible).sum()),
        "seed": seed,
        "sha256": subject.digest,
    }
    if len(draft.rows) < _FEWEST:
        raise DataError(
            f"data has {len(draft.rows)} rows that the model holds possible; expected at least {_FEWEST}."
        )
    count = f"{subject.total:,} rows of {len(subject.columns)} columns"
    draft.say("told", f"{subject.kind[0].upper()}{subject.kind[1:]}, asked about {count}.")
    if not possible.all():
        draft.say(
            "look", f"{int((~possible).sum())} row(s) have density 0, and take no part in what follows."
        )
    for title, work in _BEGINNING:
        tell(title)
        work(draft)
    if labels is not None and group is not None:
        tell("groups")
        if subject.density is None:
            compare_groups(draft, labels[possible], group)
        else:
            audit_groups(draft, group)
    if reference is not None:
        tell("drift")
        if subject.density is None:
            compare_reference(draft, subject.read(reference))
        else:
            say_drift(draft, reference)
    for title, work in _END:
        tell(title)
        work(draft)
    title = f"diffeo report: {name}" if name else "diffeo report"
    return Examination(title, draft.summary, draft.sections, plain(draft.figures), _payload(draft))


Work = tuple[str, Callable[[Draft], None]]

_BEGINNING: tuple[Work, ...] = (
    ("is the fit right?", judge_fit),
    ("columns and pairs", compare_columns),
    ("likelihoods", find_strangest),
)
_END: tuple[Work, ...] = (
    ("moulding", describe_moulding),
    ("training", describe_course),
    ("verification", verify_flow),
    ("card", write_card),
)


def _payload(draft: Draft) -> dict[str, Any]:
    """Return points of pairs, and the frames of the moulding, for the page's script."""
    rows, draws, moulder = draft.rows.columns, draft.subject.draws.columns, draft.subject.moulder
    names = [name for name, values in rows.items() if numeric(values)][:_PAIRED]
    payload: dict[str, Any] = {"pairs": None, "moulding": None}
    if len(names) > 1:
        shown = draft.subject.shown
        payload["pairs"] = {
            "columns": [
                f"{name} (seconds from {shown[name](0.0)})" if name in shown else name for name in names
            ],
            "rows": [_rounded(rows[name]) for name in names],
            "draws": [_rounded(draws[name]) for name in names],
        }
    if moulder is not None and len(moulder.columns) > 1:
        payload["moulding"] = frames(moulder, draft.seed)
    return plain(payload)


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values[:_POINTS].tolist()]


def _silent(line: str) -> None:
    del line
