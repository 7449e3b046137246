"""Progress over rows, on standard error, when a person is watching."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator


@contextlib.contextmanager
def counting(label: str, total: int | None = None) -> Generator[Callable[[int], None]]:
    """Yield a function to call with the number of rows just done; nothing is shown but on a terminal."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)

        def advance(rows: int) -> None:
            progress.advance(task, rows)

        yield advance


def _silent(rows: int) -> None:
    """Count for nobody."""
