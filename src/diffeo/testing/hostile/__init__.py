"""Hostile input: a catalogue of calls that ought not to go well, each with what its right outcome is.

Every entry ends in a right answer (finite, or infinite or NaN where that is the mathematics), or in a
:class:`diffeo.errors.DiffeoError` whose message names the argument, what was given, what was expected and
what to do. A bare exception of another library, a wrong answer, a silent NaN, a stray warning and a call of
more than ten seconds are failures.

>>> from diffeo.testing.hostile import catalogue, run_catalogue
>>> entries = [entry for entry in catalogue() if entry.name.startswith("a list to")]
>>> [figure.failed for figure in run_catalogue(entries)]
[0, 0]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diffeo.diagnostics.figure import Figure
from diffeo.testing.hostile.arguments import argument_entries
from diffeo.testing.hostile.entry import Answers, Entry, Refuses
from diffeo.testing.hostile.fits import fit_entries
from diffeo.testing.hostile.frames import frame_entries
from diffeo.testing.hostile.judge import HANG, Verdict, judge, lacks
from diffeo.testing.hostile.tables import table_entries
from diffeo.testing.hostile.tensors import tensor_entries
from diffeo.testing.hostile.values import number_entries

__all__ = [
    "HANG",
    "Answers",
    "Entry",
    "Refuses",
    "Verdict",
    "catalogue",
    "figures",
    "judge",
    "lacks",
    "run_catalogue",
]

_SOURCES = (number_entries, tensor_entries, fit_entries, frame_entries, argument_entries, table_entries)


def catalogue(seed: int = 0) -> list[Entry]:
    """Return every hostile input, its name telling it from all others; ``seed`` is that of the weights.

    >>> sorted({entry.group for entry in catalogue()})
    ['arguments', 'arrays', 'numbers', 'tables']
    """
    return [entry for source in _SOURCES for entry in source(seed)]


def run_catalogue(entries: Iterable[Entry] | None = None, seed: int = 0) -> list[Figure]:
    """Make every call and return two figures: right outcomes (B1), and messages that say enough (B8)."""
    return figures(judge(entry) for entry in (catalogue(seed) if entries is None else entries))


def figures(verdicts: Iterable[Verdict]) -> list[Figure]:
    """Return the figures of verdicts: B1 over all of them, B8 over those with a message."""
    every = list(verdicts)
    wrong = [f"{verdict.entry.name}: {verdict.wrong}" for verdict in every if verdict.wrong]
    told = [verdict for verdict in every if verdict.message]
    unclear = [f"{verdict.entry.name}: lacks {verdict.unclear}" for verdict in told if verdict.unclear]
    return [
        _counted("hostile inputs that end badly", len(every), wrong, "B1"),
        _counted("error messages that say too little", len(told), unclear, "B8"),
    ]


def _counted(name: str, tested: int, found: list[str], label: str) -> Figure:
    return Figure(
        name, float(len(found)), 0.0, tested, len(found), detail="; ".join(_first(found)), figure=label
    )


def _first(found: list[str]) -> Iterator[str]:
    yield from found[:5]
    if len(found) > 5:
        yield f"and {len(found) - 5} more"
