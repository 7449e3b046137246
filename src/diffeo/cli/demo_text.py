"""What `diffeo demo` says: tables and sentences made of the figures it is given."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from diffeo.friends.units import Array


@dataclasses.dataclass(frozen=True)
class Competitor:
    """One density: its name, what it sees, what was fitted, log p of each test row, how long that took.

    Whatever it sees, its log p is that of the values, in their own units.
    """

    name: str
    of: str
    detail: str
    log_prob: Array
    seconds: float


class Page:
    """Prints a heading and renderables as they come; on standard error when JSON is wanted."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        file = sys.stderr if as_json else sys.stdout
        # Not in a terminal, lines are cut at nothing: a log keeps whole tables.
        width = None if file.isatty() else 120
        self._console = Console(file=file, highlight=False, width=width)

    def section(self, heading: str, *parts: Any) -> None:
        """Print a heading and what belongs to it."""
        self._console.print(f"\n[bold]{heading}[/bold]")
        for part in parts:
            if isinstance(part, str):
                self.line(part)
            else:
                self._console.print(part)

    def show(self, part: Any) -> None:
        """Print a table, or whatever else rich can draw."""
        self._console.print(part)

    def line(self, text: str) -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)


def standing(flow: Competitor, rivals: Sequence[Competitor]) -> tuple[Any, str, bool]:
    """Return the table of held-out nats, a sentence that sums it up, and whether the flow is ahead.

    The difference to the flow is paired: both densities score the same rows, so that the spread of the rows
    themselves cancels. Its standard error covers the choice of test rows, not that of the training rows.
    """
    from rich.table import Table

    table = Table("density", "of", "fitted", box=None, pad_edge=False)
    for heading in ("nats a row", "± s.e.", "flow ahead by", "± s.e.", "seconds"):
        table.add_column(heading, justify="right")
    for entry in (flow, *rivals):
        mean, error = _mean_and_error(entry.log_prob)
        ahead, spread = _mean_and_error(flow.log_prob - entry.log_prob)
        versus = ["", ""] if entry is flow else [f"{ahead:+.2f}", f"{spread:.2f}"]
        table.add_row(
            entry.name,
            entry.of,
            entry.detail,
            f"{mean:.2f}",
            f"{error:.2f}",
            *versus,
            f"{entry.seconds:.1f}",
        )
    best = max(rivals, key=lambda rival: rival.log_prob.mean())
    ahead, spread = _mean_and_error(flow.log_prob - best.log_prob)
    if ahead <= 0:
        return table, f"The flow does not win here: {best.name} is ahead by {-ahead:.2f} nats a row.", False
    clear = "more than" if ahead > 2 * spread else "less than"
    factor = np.exp(ahead)
    verdict = (
        f"The flow wins: {ahead:.2f} nats a row ahead of the best of the others ({best.name} of "
        f"{best.of}), {clear} two standard errors.\n"
        f"It gives a new row on average {factor:.1f} times the density (geometric mean)."
    )
    return table, verdict, True


def sample_table(samples: Array, data: Array, columns: Sequence[str]) -> Any:
    """Return quartiles of each column, in the data and in the samples."""
    from rich.table import Table

    table = Table("column", box=None, pad_edge=False)
    for heading in ("data 25 %", "50 %", "75 %", "samples 25 %", "50 %", "75 %"):
        table.add_column(heading, justify="right")
    for name, real, drawn in zip(columns, data.T, samples.T, strict=True):
        quartiles = [*np.quantile(real, [0.25, 0.5, 0.75]), *np.quantile(drawn, [0.25, 0.5, 0.75])]
        table.add_row(name, *(f"{q:.4g}" for q in quartiles))
    return table


def strangest_table(
    chosen: Sequence[int], log_p: Array, data: Array, labels: Sequence[str], columns: Sequence[str]
) -> Any:
    """Return the chosen rows, counted from 1: log p, and the two values that fit least with the others.

    "Fits" is what a Gaussian of the logarithms expects of a column, given all other columns of the row:
    with P the inverse covariance of u = log x − mean, column j is (P u)_j / √P_jj standard deviations
    away from it. A row can be strange in no single column, and all the more so in their relation.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("row", justify="right")
    table.add_column("log p", justify="right")
    table.add_column("diagnosis")
    table.add_column("what fits least with the rest of the row")
    logs = np.log(data)
    precision = np.linalg.inv(np.cov(logs, rowvar=False))
    pull = (logs - logs.mean(0)) @ precision / np.diag(precision)
    away = pull * np.sqrt(np.diag(precision))
    for row in chosen:
        least = np.argsort(-np.abs(away[row]))[:2]
        told = "; ".join(
            f"{columns[j]} {data[row, j]:.4g}, where {data[row, j] * np.exp(-pull[row, j]):.4g} fits "
            f"({away[row, j]:+.1f} σ)"
            for j in least
        )
        table.add_row(str(row + 1), f"{log_p[row]:.2f}", labels[row], told)
    return table


def file_table(files: dict[str, Path]) -> Any:
    """Return what was written, and what to do with it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, path in files.items():
        table.add_row(name, str(path), f"{path.stat().st_size / 1024:.0f} KiB")
    return table


def _mean_and_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
