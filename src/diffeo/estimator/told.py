"""What a fit tells: each line kept for the report, and printed where somebody reads."""

from __future__ import annotations

import sys


class Told:
    """A list of lines that prints each as it comes, if ``verbose`` (None: on a terminal).

    >>> told = Told(False)
    >>> told("kernel density: -1.42 nats")
    >>> told.text
    'kernel density: -1.42 nats'
    """

    def __init__(self, verbose: bool | None) -> None:
        terminal = sys.stdout is not None and sys.stdout.isatty()
        self._prints = terminal if verbose is None else bool(verbose)
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Keep a line."""
        self._lines.append(line)
        if self._prints:
            print(line, flush=True)

    @property
    def text(self) -> str:
        """Return all lines."""
        return "\n".join(self._lines)
