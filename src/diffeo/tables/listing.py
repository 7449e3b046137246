"""A schema as a table to read, in text and in a notebook; and cells counted by column, for a warning."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from diffeo.tables.columns import Column
from diffeo.tables.frames import Cells

_HEAD = ("column", "kind", "why", "details")
_WIDEST = 40


def _cells(columns: Sequence[Column]) -> list[tuple[str, ...]]:
    return [(column.name, column.kind, column.why, column.about) for column in columns]


def as_text(columns: Sequence[Column]) -> str:
    """Return a line for each column, under a head."""
    rows = [_HEAD, *_cells(columns)]
    widths = [min(max(len(row[j]) for row in rows), _WIDEST) for j in range(len(_HEAD) - 1)]
    lines = [
        "  ".join([*(_cut(row[j]).ljust(widths[j]) for j in range(len(widths))), row[-1]]) for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def as_html(columns: Sequence[Column]) -> str:
    """Return an HTML table; what the data says is escaped."""
    head = "".join(f"<th>{name}</th>" for name in _HEAD)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
        for row in _cells(columns)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass
class Tallied:
    """Cells of one sort, counted by column, with an example of each."""

    what: str
    columns: list[str] = field(default_factory=list[str])

    def add(self, name: str, cells: Cells, where: NDArray[Any]) -> None:
        """Count the cells that ``where`` selects."""
        if where.any():
            self.columns.append(f"{int(where.sum())} in column {name!r} (such as {cells.sample(where)})")

    def __str__(self) -> str:
        more = f" and in {len(self.columns) - 8} more columns" if len(self.columns) > 8 else ""
        return f"{self.what}: {'; '.join(self.columns[:8])}{more}"
