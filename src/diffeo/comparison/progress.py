"""How a comparison goes: which model is at it, what it says, how many are done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """Where a comparison is.

    Attributes:
        model: whose turn it is.
        seed: its seed.
        done: fits that are done.
        total: fits in all.
        text: what is done now.
    """

    model: str
    seed: int
    done: int
    total: int
    text: str


Show = Callable[[Step], Any]


@contextlib.contextmanager
def shown(progress: bool | Show | None) -> Generator[Show]:
    """Give what is told of each step: the caller's function, a bar, or nothing.

    None draws a bar on a terminal.
    """
    if callable(progress):
        yield progress
        return
    if not (sys.stderr.isatty() if progress is None else progress):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=None)

        def show(step: Step) -> None:
            text = f"{step.model}, seed {step.seed}: {step.text}"
            bar.update(task, completed=step.done, total=step.total, description=f"{text:.60}")

        yield show


def _silent(step: Step) -> None:
    """Tell nobody."""
