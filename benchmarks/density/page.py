"""The report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.density.figures import OURS, RIVALS, Cell, Difference, Record, Standing, share, standings
from benchmarks.density.methods import ASKED, NATIVE, NUMERIC
from benchmarks.machine import QUIET

_PROTOCOL = (
    "Every method gets the same training, validation and test rows. Columns that are no continuous "
    "quantity are left out, and ties are spread once, as `benchmarks/density/protocol.py` says. zuko and "
    "flowjax stop early on the validation rows and keep the best weights, and flowjax compiles before its "
    "clock starts; the other methods may train on these rows too. Figures are test nats a row, higher is "
    "better, in columns standardised by the training rows (bsds300, miniboone: in the units of the "
    "papers). A difference is paired; its standard error is the larger of that over seeds and that over "
    "20 blocks of test rows. *Ahead* is by more than two of them."
)

_NATIVE = (
    "Categories, counts, dates and holes, in one density with respect to Lebesgue and counting measure. "
    "*marginals* is the product of one FlowDensity a column. Rows with an outcome that training did not "
    "have are impossible; the mean is over the others, and they are counted below."
)

_MEANS = "Mean over seeds and its standard error; the best is bold; \\* some fit failed."

#: What is wanted: the share of sets where ours is among the best, and ahead of zuko's flows.
BEST, AHEAD = 0.9, 0.75

#: What a budget may be overrun by.
KEPT = 0.1

#: Sets whose figures are comparable with papers, and what is wanted there, in nats.
WANTED = {"bsds300": 157.6, "bsds300 published size": 157.6}


def page(report: dict[str, Any]) -> str:
    """Return the whole page."""
    records: list[Record] = report["records"]
    numeric, native = standings(records, "numeric"), standings(records, "native")
    parts = [_head(report)]
    if numeric:
        parts += [
            _goals(numeric, records),
            _against(numeric),
            _sets(numeric),
            _pairs(numeric),
            _times(numeric),
        ]
    if native:
        parts.append(_native(native))
    parts += [_failures(records), _tables(numeric), _skipped(report["skipped"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(report: dict[str, Any]) -> str:
    machine, records = report["machine"], report["records"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    seeds = len({record["seed"] for record in records})
    busy = [record["busy"] for record in records if record.get("busy") is not None]
    loud = sum(each > QUIET for each in busy)
    shared = (
        f" **{loud} of {len(busy)} fits began while other programs used more than {QUIET:.0%} (at most "
        f"{max(busy):.0%}) of the processors: what those reached within the time is not to be trusted.**"
        if loud
        else ""
    )
    return (
        f"# Densities of real tables: {machine['processor']}, {machine['cores']} cores\n\n"
        f"{machine['date']}; {report['budget']:g} seconds of wall clock a fit, {report['threads']} threads "
        f"and one process at a time, {seeds} seed{'s' * (seeds != 1)}.{shared}\n\n{_PROTOCOL}\n\n"
        f"{versions}; Python {machine['python']}; {' '.join(machine['instructions'])}."
    )


def _goals(found: Sequence[Standing], records: Sequence[Record]) -> str:
    ours = [record for record in records if record["method"] == OURS and "missing" not in record]
    failed = sum(len(standing.cells[OURS].failures) for standing in found if OURS in standing.cells)
    fits = [record for record in ours if record["part"] == "numeric"]
    best, known = share(standing.among_the_best for standing in found)
    ahead, both = share(standing.ahead_of_rivals for standing in found)
    over = [r["fit_seconds"] / r["budget"] - 1 for r in ours if "fit_seconds" in r]
    kept = sum(excess <= KEPT for excess in over)
    rows = [
        ("fits that failed", f"{failed} of {len(fits)}", "0", _met(failed == 0, fits)),
        (
            "sets where diffeo is best, or at most one standard error behind each other method",
            _of(best, known),
            f"≥ {BEST:.0%}",
            _met(best >= BEST * known, known),
        ),
        (
            f"sets where it is ahead of both {' and '.join(RIVALS)}",
            _of(ahead, both),
            f"≥ {AHEAD:.0%}",
            _met(ahead >= AHEAD * both, both),
        ),
        (
            "fits that kept their time, + 10 % at most",
            f"{_of(kept, len(over))}" + (f", at most {max(over):+.0%}" if over else ""),
            "all",
            _met(kept == len(over), over),
        ),
    ]
    for standing in found:
        cell, wanted = standing.cells.get(OURS), WANTED.get(standing.name)
        if cell is not None and wanted is not None:
            met = _met(cell.whole and cell.nats >= wanted, cell.fits)
            rows.append((f"{standing.name}, nats", _number(cell), f"≥ {wanted}", met))
    return "## Goals\n\n" + _table(("", "measured", "wanted", "met"), rows)


def _against(found: Sequence[Standing]) -> str:
    rows: list[Sequence[str]] = []
    for method in _methods(found, NUMERIC)[1:]:
        all_ = [s.differences[method] for s in found if method in s.differences]
        if not all_:
            continue
        ahead, behind = sum(d.ahead for d in all_), sum(d.behind for d in all_)
        finite = sorted(d.nats for d in all_ if math.isfinite(d.nats))
        middle = f"{finite[len(finite) // 2]:+.3f}" if finite else "–"
        failed = sum(bool(s.cells[method].failures) for s in found if method in s.cells)
        undecided = len(all_) - ahead - behind
        row = (method, str(len(all_)), str(ahead), str(undecided), str(behind), middle, str(failed))
        rows.append(row)
    if not rows:
        return ""
    head = (
        "method",
        "sets",
        "diffeo ahead",
        "undecided",
        "diffeo behind",
        "median difference",
        "it failed on",
    )
    return "## diffeo beside each method\n\n" + _table(head, rows)


def _sets(found: Sequence[Standing]) -> str:
    methods = _methods(found, NUMERIC)
    rows = [
        (
            standing.name,
            f"{standing.first['train']} × {standing.first['columns']}",
            *(_cell(standing, method) for method in methods),
            {True: "yes", False: "**no**", None: "–"}[standing.among_the_best],
        )
        for standing in found
    ]
    head = ("set", "rows × columns", *methods, "diffeo among the best")
    return f"## Test nats a row\n\n{_MEANS}\n\n" + _table(head, rows)


def _pairs(found: Sequence[Standing]) -> str:
    methods = [m for m in _methods(found, NUMERIC) if m != OURS]
    if not any(standing.differences for standing in found):
        return ""
    rows = [
        (standing.name, *(_difference(standing.differences.get(method)) for method in methods))
        for standing in found
    ]
    return "## diffeo less each method\n\nNats a row, paired.\n\n" + _table(("set", *methods), rows)


def _times(found: Sequence[Standing]) -> str:
    methods = _methods(found, NUMERIC)
    rows = [
        (s.name, *(f"{s.cells[m].seconds:.1f}" if m in s.cells else "–" for m in methods)) for s in found
    ]
    return "## Seconds of a fit\n\nWith all compilation.\n\n" + _table(("set", *methods), rows)


def _native(found: Sequence[Standing]) -> str:
    methods = _methods(found, NATIVE)
    rows = [
        (
            standing.name,
            f"{standing.first['train'] + standing.first['validation']} × {standing.first['columns']}",
            *(_cell(standing, method) for method in methods),
            *(_difference(standing.differences.get(method)) for method in methods if method != OURS),
        )
        for standing in found
    ]
    less = [f"less {method}" for method in methods if method != OURS]
    head = ("set", "rows × columns", *methods, *less)
    return f"## Tables as they are\n\n{_NATIVE}\n\n" + _table(head, rows)


def _failures(records: Sequence[Record]) -> str:
    lines: list[str] = []
    for part in ("numeric", "native"):
        for standing in standings(records, part):
            for method, cell in standing.cells.items():
                lines += [f"- {standing.name} ({part}), {method}, {text}" for text in cell.failures]
    for record in records:
        if record["part"] == "native" and record.get("impossible"):
            lines.append(
                f"- {record['set']} (native), {record['method']}, seed {record['seed']}: "
                f"{record['impossible']} of {record['test']} test rows are impossible (not a failure)"
            )
    missing = sorted({(r["method"], r["missing"]) for r in records if "missing" in r})
    lines += [f"- {method} was not measured: {why}" for method, why in missing]
    return "## Failures\n\n" + ("\n".join(lines) if lines else "None.")


def _tables(found: Sequence[Standing]) -> str:
    lines: list[str] = []
    for standing in found:
        first = standing.first
        told = [f"{first['train']} + {first['validation']} + {first['test']} rows"]
        told += [f"{why}: {', '.join(names)}" for why, names in first["dropped"].items()]
        told += [f"{first['spread']} columns spread"] if first["spread"] else []
        told += [first["said"]] if first["said"] else []
        lines.append(f"- **{standing.name}**: {'; '.join(told)}")
    return "## What was left out of each set\n\n" + "\n".join(lines) if lines else ""


def _skipped(skipped: dict[str, str]) -> str:
    lines = [f"- {name}: {why}" for name, why in skipped.items()]
    return "## Sets that were skipped\n\n" + "\n".join(lines) if lines else ""


def _methods(found: Sequence[Standing], known: Iterable[str]) -> list[str]:
    there = {method for standing in found for method in standing.cells}
    return [method for method in (*known, *ASKED) if method in there]


def _cell(standing: Standing, method: str) -> str:
    cell = standing.cells.get(method)
    if cell is None:
        return "–"
    text = _number(cell) + ("" if cell.whole else r"\*")
    return f"**{text}**" if standing.best == method else text


def _number(cell: Cell) -> str:
    if math.isnan(cell.nats):
        return "failed"
    return f"{cell.nats:.3f}" + (f" ± {cell.error:.3f}" if math.isfinite(cell.error) else "")


def _difference(found: Difference | None) -> str:
    if found is None:
        return "–"
    if not math.isfinite(found.nats):
        return "it failed" if found.nats > 0 else "**diffeo failed**"
    text = f"{found.nats:+.3f} ± {found.error:.3f}"
    return f"**{text}**" if found.behind else text


def _of(count: int, known: int) -> str:
    return f"{count} of {known}" + (f" ({count / known:.0%})" if known else "")


def _met(answer: bool, measured: Any) -> str:
    return ("yes" if answer else "**no**") if measured else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
