"""Small figures as SVG: they print, scale, follow light and dark, and each comes with its table.

No library draws them: plotly alone is 4.5 MB, nearly all of what a page may weigh; these are some kilobytes
each. Marks carry ``data-t``, what the page's script tells on hover and by the arrow keys.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_WIDE, _HIGH, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 260, 56, 12, 10, 40


@dataclass(frozen=True)
class Drawing:
    """A figure of the page.

    Attributes:
        key: unique on the page, of letters and digits.
        title: what it is.
        about: what it shows, for those who do not see it; one or two sentences.
        svg: the picture.
        headings, rows: its figures as a table.
        note: a line below it.
    """

    key: str
    title: str
    about: str
    svg: str
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    note: str = ""
    group: str = ""


@dataclass
class Plot:
    """A pair of axes that marks are added to, in the units of the data."""

    x: tuple[float, float]
    y: tuple[float, float]
    x_label: str
    y_label: str
    marks: list[str] = field(default_factory=list[str])
    x_names: Sequence[str] = ()
    high: int = _HIGH
    y_ticks: bool = True

    def across(self, value: float) -> float:
        """Return where a value of x stands, in pixels."""
        low, high = self.x
        return _LEFT + (_WIDE - _LEFT - _RIGHT) * (value - low) / ((high - low) or 1)

    def up(self, value: float) -> float:
        """Return where a value of y stands, in pixels."""
        low, high = self.y
        return self.high - _BOTTOM - (self.high - _TOP - _BOTTOM) * (value - low) / ((high - low) or 1)

    def line(self, x: Array, y: Array, kind: str, told: str = "") -> None:
        """Add a line of class ``kind``."""
        points = " ".join(f"{self.across(a):.1f},{self.up(b):.1f}" for a, b in zip(x, y, strict=True))
        self.marks.append(f'<polyline class="{kind}" points="{points}"{_told(told)}/>')

    def band(self, x: Array, low: Array, high: Array, kind: str) -> None:
        """Fill between two lines."""
        there = [f"{self.across(a):.1f},{self.up(b):.1f}" for a, b in zip(x, high, strict=True)]
        back = [f"{self.across(a):.1f},{self.up(b):.1f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
        self.marks.append(f'<polygon class="{kind}" points="{" ".join(there + back)}"/>')

    def bar(self, left: float, right: float, low: float, high: float, kind: str, told: str = "") -> None:
        """Add a rectangle."""
        x, y = self.across(left), self.up(high)
        wide, tall = max(self.across(right) - x, 0.5), max(self.up(low) - y, 0.0)
        place = f'x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}"'
        self.marks.append(f'<rect class="{kind}" {place}{_told(told)}/>')

    def dot(self, x: float, y: float, kind: str, told: str = "", radius: float = 3) -> None:
        """Add a point."""
        place = f'cx="{self.across(x):.1f}" cy="{self.up(y):.1f}" r="{radius}"'
        self.marks.append(f'<circle class="{kind}" {place}{_told(told)}/>')

    def hand(self, x: float, told: str, y: Array) -> None:
        """Add a column that cannot be seen and that tells of itself."""
        step = (_WIDE - _LEFT - _RIGHT) / max(len(y), 1)
        left = self.across(x) - step / 2
        self.marks.append(
            f'<rect class="hit" x="{left:.1f}" y="{_TOP}" width="{step:.1f}" '
            f'height="{self.high - _TOP - _BOTTOM}"{_told(told)}/>'
        )

    def svg(self, key: str, title: str, about: str) -> str:
        """Return the picture."""
        axes = [f'<g class="axis"><path d="M{_LEFT},{_TOP}V{self.high - _BOTTOM}H{_WIDE - _RIGHT}"/>']
        if self.x_names:
            axes += [
                _text(self.across(k), self.high - _BOTTOM + 16, _short(name), "middle")
                for k, name in enumerate(self.x_names)
            ]
        else:
            for value in ticks(*self.x):
                axes.append(_text(self.across(value), self.high - _BOTTOM + 16, number(value), "middle"))
        for value in ticks(*self.y, 4) if self.y_ticks else ():
            at = self.up(value)
            axes.append(f'<path class="grid" d="M{_LEFT},{at:.1f}H{_WIDE - _RIGHT}"/>')
            axes.append(_text(_LEFT - 6, at + 4, number(value), "end"))
        middle = (_TOP + self.high - _BOTTOM) / 2
        axes.append(_text((_LEFT + _WIDE - _RIGHT) / 2, self.high - 5, self.x_label, "middle"))
        axes.append(
            f'<text class="label" transform="translate(12 {middle:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y_label)}</text></g>"
        )
        return (
            f'<svg viewBox="0 0 {_WIDE} {self.high}" role="img" aria-labelledby="{key}-t {key}-d">'
            f'<title id="{key}-t">{escape(title)}</title><desc id="{key}-d">{escape(about)}</desc>'
            f"{''.join(axes)}{''.join(self.marks)}</svg>"
        )


def number(value: Any) -> str:
    """Return a number in a few characters.

    >>> number(0.25), number(123456.0), number(float("nan"))
    ('0.25', '1.23e+05', '—')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—" if value is None or math.isnan(value) else "−∞" if value < 0 else "∞"
    return f"{value:.3g}".replace("-", "−") if isinstance(value, float) else str(value)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """Return round numbers between two.

    >>> ticks(0.0, 1.0, 4)
    [0.0, 0.5, 1.0]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(name: str, most: int = 12) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _told(text: str) -> str:
    return f' data-t="{escape(text, quote=True)}"' if text else ""


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
