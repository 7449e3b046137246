"""The page: one HTML document with its style, its script and its figures inside; no network, no cookie.

Whatever comes from data or models is text: it is escaped where it stands in HTML, and the script reads its
numbers from a JSON element in which ``<`` is written by its code, so that no name can end it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from diffeo.report.svg import Drawing

if TYPE_CHECKING:
    from diffeo.report.draft import Section
    from diffeo.report.examination import Examination

_MARKS = {"good": ("✓", "fine"), "look": ("!", "look at this"), "told": ("i", "information")}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(found: Examination) -> str:
    """Return the document."""
    style, script = (
        files("diffeo.report").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js")
    )
    links = "".join(f'<li><a href="#{one.key}">{escape(one.title)}</a></li>' for one in found.sections)
    body = "".join(_section(one, found) for one in found.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(found.title)}</title><style>{style}</style></head><body>"
        f'<a class="skip" href="#summary">To the summary</a><header><h1>{escape(found.title)}</h1></header>'
        f'<nav aria-label="Sections"><ul><li><a href="#summary">Summary</a></li>{links}</ul></nav>'
        f'<main id="main"><section id="summary"><h2>Summary</h2>{_summary(found)}</section>{body}</main>'
        '<p id="told" role="status" aria-live="polite"></p>'
        f'<script type="application/json" id="payload">{embedded(found.payload)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def embedded(value: Any) -> str:
    """Return JSON that can stand in a script element, whatever text is in it.

    >>> "<" in embedded({"</script>": 1})
    False
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def brief(found: Examination) -> str:
    """Return the summary as HTML, for notebooks."""
    return f"<h3>{escape(found.title)}</h3>{_summary(found)}"


def _summary(found: Examination) -> str:
    items: list[str] = []
    for verdict, sentence in found.summary:
        mark, meaning = _MARKS[verdict]
        items.append(
            f'<li class="{verdict}"><span class="mark" role="img" aria-label="{meaning}">{mark}</span> '
            f"<span>{escape(sentence)}</span></li>"
        )
    return f'<ul class="verdicts">{"".join(items)}</ul>'


def _section(one: Section, found: Examination) -> str:
    parts = [f"<p>{escape(words)}</p>" for words in one.words]
    grouped: dict[str, list[Drawing]] = {}
    for drawing in one.drawings:
        grouped.setdefault(drawing.group, []).append(drawing)
    for group, drawings in grouped.items():
        shown = "".join(_figure(drawing, one.title) for drawing in drawings)
        parts.append(f'<div class="{"grid" if group else "wide"}">{shown}</div>')
    if one.key == "columns" and found.payload.get("pairs"):
        parts.append(_pairs(found.payload["pairs"]["columns"]))
    if one.key == "moulding" and found.payload.get("moulding"):
        parts.append(_moulding(found.payload["moulding"]))
    parts += [_table(*table) for table in one.tables]
    if one.text:
        label = f'tabindex="0" role="region" aria-label="{escape(one.title, quote=True)}, as text"'
        parts.append(f"<pre {label}>{escape(one.text)}</pre>")
    return f'<section id="{one.key}"><h2>{escape(one.title)}</h2>{"".join(parts)}</section>'


def _figure(one: Drawing, section: str) -> str:
    note = f"<span>{escape(one.note)}</span>" if one.note else ""
    rows = _table("", one.headings, one.rows, of=f"{one.title} ({section})") if one.rows else ""
    inside = (
        f"<details><summary>The figures of this picture as a table</summary>{rows}</details>"
        if rows
        else ""
    )
    name = escape(one.title, quote=True)
    return (
        f"<figure><figcaption><strong>{escape(one.title)}</strong> {note}</figcaption>"
        f'<div class="picture" tabindex="0" role="group" aria-label="{name}: arrow keys read its marks">'
        f"{one.svg}</div>{inside}</figure>"
    )


def _table(
    caption: str, headings: Sequence[str], rows: Sequence[Sequence[Any]], of: str = "the picture"
) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' if text else "<td></td>" for text in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or f"figures of {of}", quote=True)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>{named}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _choice(key: str, label: str, names: Sequence[str], chosen: int) -> str:
    options = "".join(
        f'<option value="{k}"{" selected" if k == chosen else ""}>{escape(name)}</option>'
        for k, name in enumerate(names)
    )
    return f'<label for="{key}">{label}</label> <select id="{key}">{options}</select> '


def _pairs(names: Sequence[str]) -> str:
    return (
        '<figure id="pairs"><figcaption><strong>Pairs</strong> <span>rows (filled) and draws of the model '
        f'(rings)</span></figcaption><p class="controls">'
        f"{_choice('pair-x', 'across', names, 0)}{_choice('pair-y', 'up', names, 1)}"
        '<label><input type="checkbox" id="pair-rows" checked> rows</label> '
        '<label><input type="checkbox" id="pair-draws" checked> draws</label></p>'
        '<svg id="pair-picture" viewBox="0 0 560 420" role="img" aria-label="Scatter of two columns"></svg>'
        "<noscript><p>The pairs are drawn by a script; the table below compares "
        "them.</p></noscript></figure>"
    )


def _moulding(told: dict[str, Any]) -> str:
    names, last = told["columns"], len(told["stages"]) - 1
    return (
        '<figure id="mould"><figcaption><strong>z → x</strong> <span>colour: the local volume change, '
        "log |det|, blue where space shrank, red where it grew; the density is the noise's divided by "
        "it</span></figcaption>"
        f'<p class="controls"><button type="button" id="mould-play">Play</button> '
        f'<label for="mould-stage">stage</label> <input type="range" id="mould-stage" min="0" max="{last}" '
        f'step="0.05" value="{last}"> <output id="mould-name" for="mould-stage"></output></p>'
        f'<p class="controls">{_choice("mould-x", "across", names, 0)}'
        f"{_choice('mould-y', 'up', names, 1)}</p>"
        '<svg id="mould-picture" viewBox="0 0 560 420" role="img" '
        'aria-label="Points moving from noise to data"></svg>'
        "<noscript><p>The moulding is played by a script.</p></noscript></figure>"
    )
