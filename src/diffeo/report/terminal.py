"""The report on a terminal: the summary, tables, and lines of little bars in place of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from diffeo.report.examination import Examination
    from diffeo.report.svg import Drawing

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {"good": "[green]✓[/green]", "look": "[yellow]![/yellow]", "told": "[cyan]i[/cyan]"}


def sparkline(values: Any) -> str:
    """Return bars as high as the values.

    >>> sparkline([0.0, 1.0, 4.0])
    '▁▃█'
    """
    found = np.asarray(values, dtype=np.float64)
    top = float(found.max(initial=0.0))
    if not top > 0:
        return _BARS[0] * len(found)
    return "".join(_BARS[int(v)] for v in np.rint((len(_BARS) - 1) * np.maximum(found, 0) / top))


def show(found: Examination, console: Any = None) -> None:
    """Print the report."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    out = console or Console(highlight=False)
    out.print(f"\n[bold]{escape(found.title)}[/bold]")
    for verdict, sentence in found.summary:
        out.print(f" {_MARKS[verdict]} {escape(sentence)}")
    for section in found.sections:
        out.print(f"\n[bold]{escape(section.title)}[/bold]")
        for words in section.words:
            out.print(Text(words))
        for drawn in _grouped(section.drawings):
            table = Table(*map(escape, ("column", *drawn[0].headings[1:], "")), box=None, pad_edge=False)
            for one in drawn:
                shares = [[_share(row[k]) for row in one.rows] for k in range(1, len(one.headings))]
                bars = [sparkline(part) for part in shares]
                table.add_row(*(Text(text) for text in (one.title[:30], *bars, one.note)))
            out.print(table)
        for caption, headings, rows in section.tables:
            if section.key in ("verification", "card"):
                continue  # the words have said it, and the page has all of it
            table = Table(*map(escape, headings), box=None, pad_edge=False)
            for row in rows:
                table.add_row(*(Text(str(cell)) for cell in row))
            out.print(Text(caption, style="italic"))
            out.print(table)


def _grouped(drawings: list[Drawing]) -> list[list[Drawing]]:
    """Return the drawings that belong together, group by group."""
    names = dict.fromkeys(one.group for one in drawings if one.group)
    return [[one for one in drawings if one.group == name] for name in names]


def _share(cell: Any) -> float:
    text = str(cell).split(" ")[0].replace("−", "-")
    try:
        return float(text)
    except ValueError:
        return 0.0
