"""A report while it is written: what it is about, what was said and found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit import Finding
from diffeo.report.subject import Rows, Subject
from diffeo.report.svg import Drawing

#: Rows that residuals and classifiers are asked of, at most.
TESTED = 4_000

Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


@dataclass
class Section:
    """A part of the report.

    Attributes:
        key: unique on the page.
        title: its heading.
        words: sentences.
        drawings: figures.
        tables: caption, headings and rows.
        text: lines as they are.
    """

    key: str
    title: str
    words: list[str] = field(default_factory=list[str])
    drawings: list[Drawing] = field(default_factory=list[Drawing])
    tables: list[Table] = field(default_factory=list[Table])
    text: str = ""


@dataclass
class Draft:
    """A report while it is written.

    Attributes:
        subject: the model and its rows.
        rows: the rows that the model holds possible.
        places: their numbers among the subject's rows.
        seed: of tests.
        summary: sentences, each with "good", "look" or "told".
        sections: the parts.
        figures: everything found, for machines.
    """

    subject: Subject
    rows: Rows
    places: NDArray[np.int64]
    seed: int
    summary: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    sections: list[Section] = field(default_factory=list[Section])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])

    def section(self, key: str, title: str) -> Section:
        """Begin a section."""
        made = Section(key, title)
        self.sections.append(made)
        return made

    def say(self, verdict: str, sentence: str) -> None:
        """Add a sentence to the summary."""
        self.summary.append((verdict, sentence))

    def find(self, section: Section, key: str, one: Finding) -> None:
        """Keep a finding, and say it in a section."""
        self.figures[key] = one
        section.words.append(one.in_words())

    def some(self) -> Rows:
        """Return as many of the rows as costly tests look at."""
        if len(self.rows) <= TESTED:
            return self.rows
        index = np.random.default_rng(self.seed).choice(len(self.rows), TESTED, replace=False)
        return self.rows.some(np.sort(index))


def numeric(column: NDArray[Any]) -> bool:
    """Return whether a column holds numbers."""
    return column.dtype.kind == "f"
