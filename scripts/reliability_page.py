"""The page of promises: figures as a table, and as JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping

from diffeo.diagnostics.figure import Figure
from diffeo.testing import PROMISES

#: What is promised, by label; the labels and their order are those of the published page.
TITLES = {
    **{promise.figure: promise.text for promise in PROMISES if promise.figure},
    "A2": "trained flows bring rows back, or flag them",
    "A6": "no likelihood is too good: held-out nats stay above the entropy",
    "A8": "slopes of laws keep their bounds",
    "B1": "a hostile input ends in a right answer or a clear error",
    "B6": "an impossible fit is refused at once",
    "B8": "every error names argument, value, expectation and remedy",
    "B9": "a change of units changes log p by its logarithm only",
    "C1": "training killed at any moment resumes bit for bit",
    "C2": "no file is unreadable after a kill",
    "C7": "the same seed gives the same bits",
    "D1": "malicious files are refused, and run nothing",
    "D2": "damaged files are refused",
    "D5": "newer files and unknown kinds are told",
    "D8": "nothing in the package unpickles, evaluates or executes",
    "E3": "log_prob compiles into one graph",
}


def show(figures: list[Figure], theirs: Mapping[tuple[str, str], Figure]) -> None:
    """Print the page, with the peers' figures in a column of their own where there are any."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("what")
    headings = ["tested", "failed", "worst", "limit", "rate", *(["peers: failed"] if theirs else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    label = ""
    for figure in figures:
        if figure.figure != label:
            label = figure.figure
            table.add_row(label, f"[bold]{TITLES.get(label, '')}[/bold]")
        table.add_row(
            "",
            f"  {figure.name}",
            f"{figure.tested:,}",
            str(figure.failed) if figure.ok else f"[red]{figure.failed}[/red]",
            f"{figure.worst:.2g}",
            f"{figure.limit:.2g}",
            rate(figure),
            *([beside(figure, theirs)] if theirs else []),
        )
        if not figure.ok:
            table.add_row("", f"    [red]{figure.detail}[/red]")
    Console(width=None if sys.stdout.isatty() else 150, highlight=False).print(table)


def rate(figure: Figure) -> str:
    """Return the failure rate, or the bound that no failure in n trials gives."""
    if not figure.tested:
        return "not judged"
    if figure.failed:
        return f"{figure.failed / figure.tested:.2g}"
    return f"< {3 / figure.tested:.2g}" if figure.tested > 3 else ""


def plain(figure: Figure) -> dict[str, object]:
    """Return a figure as JSON has it: numbers that it lacks are null."""
    items = vars(figure).items()
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in items}


def beside(figure: Figure, found: Mapping[tuple[str, str], Figure]) -> str:
    """Return what stands in the peers' column beside a figure of ours."""
    theirs = found.get((figure.figure, figure.name))
    if theirs is None or not theirs.tested:
        return ""
    return f"{theirs.failed:,} of {theirs.tested:,}, worst {theirs.worst:.2g}"
