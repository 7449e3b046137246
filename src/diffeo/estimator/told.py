"""What a fit tells: each line kept for the report, and told on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Told:
    """A list of lines that also tells each to ``listener``, if there is one.

    >>> told = Told()
    >>> told("kernel density: -1.42 nats")
    >>> told.lines
    ['kernel density: -1.42 nats']
    """

    def __init__(self, listener: Callable[[str], Any] | None = None) -> None:
        self.lines: list[str] = []
        self._listener = listener

    def __call__(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)
        if self._listener is not None:
            self._listener(line)


def printer(verbose: bool | None) -> Callable[[str], Any] | None:
    """Return what prints a line at once, if ``verbose`` (None: on a terminal)."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return _print if (terminal if verbose is None else verbose) else None


def _print(line: str) -> None:
    print(line, flush=True)
