"""Values of options that are lists."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffeo.errors import ConfigError


def names_in(option: str, given: Sequence[str] | None, present: Sequence[str]) -> list[str] | None:
    """Return the column names in a repeated option; each may also be several, separated by commas.

    A name that itself contains a comma is taken whole where the data has such a column.

    >>> names_in("--drop", ["a,b", "x,y"], ["a", "b", "x,y"])
    ['a', 'b', 'x,y']
    """
    if not given:
        return None
    names: list[str] = []
    for text in given:
        names += [text] if text in present else [part.strip() for part in text.split(",")]
    return names


def widths(text: str | None) -> tuple[int, ...] | None:
    """Return hidden widths written as ``128,128``.

    >>> widths("64,32")
    (64, 32)
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--hidden {text!r} is not a list of widths; expected numbers as 128,128.")
    return tuple(int(part) for part in parts)


def not_over(output: str, **read: str) -> None:
    """Raise :class:`ConfigError` if ``output`` is one of the other files named: it would be lost.

    >>> not_over("scores.csv", DATA="table.csv", MODEL="-")
    """
    for name, path in read.items():
        if not path or "-" in (path, output):
            continue
        both = os.path.exists(output) and os.path.exists(path)
        if os.path.realpath(output) == os.path.realpath(path) or (both and os.path.samefile(output, path)):
            raise ConfigError(
                f"-o {output!r} is the file {name}, which would be lost; expected another one: choose "
                "a new name."
            )
