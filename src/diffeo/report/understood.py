"""What an estimator says of groups and of drift: the sections that :mod:`diffeo.understanding` finds.

Flows that are no estimator cannot be asked so much; :mod:`~diffeo.report.beside` compares columns for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diffeo.diagnostics.fit.finding import plain, said_p
from diffeo.report import figures
from diffeo.report.draft import Draft
from diffeo.report.svg import number

#: Rows that are audited at most, and steps of the groups' densities: no clock decides what is said.
_ROWS, _STEPS, _PERMUTATIONS = 4_000, 100, 999

_SHOWN = 12


def audit_groups(draft: Draft, group: str) -> None:
    """Write the section on groups: representation, fit, proxies; one correction for all tests."""
    from diffeo.understanding import audit

    subject = draft.subject
    assert subject.density is not None
    assert subject.tables is not None
    section = draft.section("groups", f"Groups of {group}: representation, fit, proxies")
    found = audit(
        subject.density,
        subject.tables(_some(draft)),
        group=group,
        architecture="mixture",
        max_steps=_STEPS,
        permutations=_PERMUTATIONS,
        random_state=draft.seed,
    )
    section.words += found.in_words().split("\n")
    draft.figures["audit"] = found.to_json()
    entries = [(f"{one.group} ({one.rows:,} rows)", one.nats, one.low, one.high) for one in found.fit]
    about = (
        "Mean log p of each group's rows and its 95 % interval; groups may differ by how varied they are."
    )
    section.drawings.append(
        figures.of_intervals("groupnats", "Nats by group", "nats a row", entries, about)
    )
    section.tables.append(
        (
            "Representation",
            ("group", "rows", "share", "95 %", "effective size", "others without support here"),
            [
                (
                    one.group,
                    f"{one.rows:,}",
                    f"{100 * one.share:.1f} %",
                    f"{100 * one.low:.1f} … {100 * one.high:.1f} %",
                    _percent(one.effective),
                    _percent(one.unsupported),
                )
                for one in found.presence
            ],
        )
    )
    fit: list[tuple[Any, ...]] = [
        (
            one.group,
            number(one.nats),
            number(one.expected),
            f"{number(one.shortfall)} ({number(one.shortfall_low)} … {number(one.shortfall_high)})",
            said_p(one.p) if np.isfinite(one.p) else "too few rows",
        )
        for one in found.fit
    ]
    headings = ("group", "nats a row", "expected", "short of that by (95 %)", "worse than others")
    section.tables.append(("How well the model fits each group", headings, fit))
    proxies: list[tuple[Any, ...]] = [
        (", ".join(one.columns[:4]), number(one.information), _percent(one.share), said_p(one.p), one.where)
        for one in sorted((*found.joint, *found.proxies), key=_information, reverse=True)[:_SHOWN]
    ]
    headings = ("columns", "nats", "of what there is to know", "by chance", "how")
    section.tables.append((f"What columns tell of {group}", headings, proxies))
    said = [one.words for one in found.findings[:3]]
    more = f"; and {len(found.findings) - 3} more" if len(found.findings) > 3 else ""
    draft.say(
        "look" if said else "good",
        f"Between groups of {group!r}: {'; '.join(said)}{more}. Whether that is bias is a question "
        "about where the rows come from."
        if said
        else f"Between groups of {group!r} an audit finds nothing in {len(found.tests)} tests.",
    )


def say_drift(draft: Draft, reference: Any) -> None:
    """Write the section on drift: log p, a classifier, each column by itself and given those before it."""
    from diffeo.understanding import drift

    subject = draft.subject
    assert subject.density is not None
    assert subject.tables is not None
    section = draft.section("drift", "Drift: these rows beside the reference")
    found = drift(
        subject.density,
        reference,
        subject.tables(draft.places),
        permutations=_PERMUTATIONS,
        random_state=draft.seed,
    )
    lines = found.in_words().split("\n")
    section.words += lines
    draft.figures["drift"] = {**plain(found), "words": found.in_words(), "drifted": found.drifted}
    draft.figures["drift"].pop("log_ratio")  # a number a row
    listed: list[tuple[Any, ...]] = [
        (one.column, number(one.size), said_p(one.adjusted), said_p(one.given_adjusted), one.where)
        for one in found.columns[:_SHOWN]
    ]
    headings = ("column", "how far (0 to 1)", "itself, corrected", "given those before, corrected", "how")
    section.tables.append(("Columns, the surest first", headings, listed))
    draft.say("look" if found.drifted else "good", lines[0])


def _some(draft: Draft) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return as many of the rows as an audit looks at."""
    if len(draft.places) <= _ROWS:
        return draft.places
    return np.sort(np.random.default_rng(draft.seed).choice(draft.places, _ROWS, replace=False))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if np.isfinite(share) else "—"


def _information(one: Any) -> float:
    return float(one.information)
