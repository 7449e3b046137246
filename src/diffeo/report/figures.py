"""The figures of the page, each drawn from what a diagnostic found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit import PIT, Coverage, HeldOut, Latent
from diffeo.report.subject import Rows
from diffeo.report.svg import Drawing, Plot, number

Array = NDArray[np.float64]

_BINS, _STEPS, _LEVELS = 24, 30, 12


def of_column(
    key: str,
    name: str,
    rows: NDArray[Any],
    draws: NDArray[Any],
    said: str,
    shown: Callable[[float], str] | None = None,
) -> Drawing:
    """Draw one column: the share of rows, and of draws, in each bin or level.

    Numbers that are times are ``shown`` as such.
    """
    if rows.dtype.kind == "f":
        labels, own, other, holes = _binned(rows, draws, shown)
    else:
        labels, own, other = _levels(rows, draws)
        holes = ""
    top = max(float(own.max(initial=0)), float(other.max(initial=0)), 1e-9)
    about = (
        f"{name}: share of rows (bars) and of draws from the model (line) in {len(labels)} bins; {said}."
    )
    numeric = rows.dtype.kind == "f" and len(labels) > 0
    plot = Plot(
        (-0.5, len(labels) - 0.5), (0.0, 1.08 * top), name, "share", x_names=labels if not numeric else ()
    )
    table: list[tuple[Any, ...]] = []
    for k, label in enumerate(labels):
        told = f"{label}: {100 * own[k]:.1f} % of the rows, {100 * other[k]:.1f} % of the draws"
        plot.bar(k - 0.45, k + 0.45, 0.0, float(own[k]), "data", told)
        table.append((label, f"{100 * own[k]:.1f} %", f"{100 * other[k]:.1f} %"))
    for k in range(len(labels)):
        plot.line(np.array([k - 0.45, k + 0.45]), np.array([other[k], other[k]]), "model strong")
    if numeric:
        plot = _with_edges(plot, labels)
    return Drawing(
        key,
        name,
        about,
        plot.svg(key, name, about),
        ("bin", "rows", "draws"),
        tuple(table),
        f"{said}{'; ' if said and holes else ''}{holes}",
        "columns",
    )


def _with_edges(plot: Plot, labels: Sequence[str]) -> Plot:
    """Name a few bins only: numbers stand close."""
    step = max(1, len(labels) // 5)
    plot.x_names = [label.split(" … ")[0] if k % step == 0 else "" for k, label in enumerate(labels)]
    return plot


def _named(values: Array, shown: Callable[[float], str] | None) -> list[str]:
    """Return numbers as text; times as days, or to the minute, where these differ."""
    if shown is None:
        return [f"{value:.4g}" for value in values]
    texts = [shown(float(value)) for value in values]
    for length in (10, 16):
        short = [text[:length] for text in texts]
        if len(set(short)) == len(texts):
            return short
    return texts


def _binned(
    rows: NDArray[Any], draws: NDArray[Any], shown: Callable[[float], str] | None
) -> tuple[list[str], Array, Array, str]:
    own, other = rows[np.isfinite(rows)], draws[np.isfinite(draws)]
    share = (
        f"missing in {100 * (1 - len(own) / len(rows)):.1f} % of the rows" if len(own) < len(rows) else ""
    )
    if not len(own):
        return [], np.zeros(0), np.zeros(0), share
    values = np.unique(own)
    if len(values) <= _STEPS:
        edges = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
        labels = _named(values, shown)
    else:
        low, high = np.quantile(np.concatenate([own, other]) if len(other) else own, [0.002, 0.998])
        if not low < high:
            low, high = float(own.min()), float(own.max())
        inner = np.linspace(low, high, _BINS + 1)
        labels = [f"{a} … {b}" for a, b in itertools.pairwise(_named(inner, shown))]
        edges = np.concatenate([[-np.inf], inner[1:-1], [np.inf]])
    counted = [np.histogram(v, edges)[0] / max(len(all_), 1) for v, all_ in ((own, rows), (other, draws))]
    return labels, counted[0], counted[1], share


def _levels(rows: NDArray[Any], draws: NDArray[Any]) -> tuple[list[str], Array, Array]:
    own, other = (["(missing)" if v is None else str(v) for v in part.tolist()] for part in (rows, draws))
    names, counts = np.unique(own, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:_LEVELS]]
    labels = [*shown, "(others)"] if len(names) > _LEVELS or set(other) - set(shown) else shown
    place = {name: k for k, name in enumerate(shown)}
    found: list[Array] = []
    for part in (own, other):
        at = np.array([place.get(name, len(shown)) for name in part], dtype=np.int64)
        found.append(np.bincount(at, minlength=len(labels))[: len(labels)] / max(len(part), 1))
    return labels, found[0], found[1]


def of_coverage(found: Coverage) -> Drawing:
    """Draw actual against nominal coverage."""
    plot = Plot((0.0, 1.0), (0.0, 1.0), "share that the region should hold", "share that it holds")
    plot.band(
        found.nominal,
        (found.nominal - found.band).clip(0, 1),
        (found.nominal + found.band).clip(0, 1),
        "band",
    )
    plot.line(found.nominal, found.actual, "data strong")
    for nominal, actual in zip(found.nominal, found.actual, strict=True):
        plot.hand(
            float(nominal),
            f"region of {100 * nominal:.1f} %: holds {100 * actual:.1f} % of the rows",
            found.nominal,
        )
    table = [
        (f"{100 * a:.1f} %", f"{100 * b:.1f} %", f"± {100 * c:.1f} %")
        for a, b, c in zip(found.nominal, found.actual, found.band, strict=True)
    ]
    about = (
        f"Coverage of highest-density regions. {found.in_words()} The band is two standard errors of "
        f"chance."
    )
    return Drawing(
        "coverage",
        "Coverage",
        about,
        plot.svg("coverage", "Coverage", about),
        ("should hold", "holds", "chance"),
        tuple(table[::2]),
    )


def of_pit(found: PIT, k: int, key: str) -> Drawing:
    """Draw the transform's histogram of one column."""
    bins = found.counts.shape[1]
    expected = found.rows / bins
    density = found.counts[k] / expected
    error = 2 * ((1 - 1 / bins) / expected) ** 0.5
    plot = Plot(
        (0.0, 1.0), (0.0, max(2.0, 1.1 * float(density.max()))), "F(x | columns before it)", "density"
    )
    edges = np.linspace(0, 1, bins + 1)
    for b in range(bins):
        told = f"{edges[b]:.2f} … {edges[b + 1]:.2f}: {density[b]:.2f} times what it should be"
        plot.bar(edges[b], edges[b + 1] - 0.004, 0.0, float(density[b]), "data", told)
    plot.band(np.array([0.0, 1.0]), np.full(2, 1 - error), np.full(2, 1 + error), "band over")
    name, p = found.columns[k], found.p[k]
    about = (
        f"PIT of {name}: flat at 1 where the model is right. It is {found.shapes[k]} (p = {p:.3g} "
        f"after correction)."
    )
    table = tuple((f"{edges[b]:.2f} … {edges[b + 1]:.2f}", f"{density[b]:.2f}") for b in range(bins))
    return Drawing(
        key,
        name,
        about,
        plot.svg(key, f"PIT of {name}", about),
        ("part", "density"),
        table,
        f"the model's law is {found.shapes[k]}",
        "pit",
    )


def of_latent(found: Latent) -> Drawing:
    """Draw the quantiles of each latent column less the normal's."""
    from scipy.special import ndtri

    normal = ndtri(found.levels)
    off = found.quantiles - normal
    reach = max(0.5, float(np.abs(off).max()) * 1.05)
    plot = Plot(
        (float(normal[0]), float(normal[-1])), (-reach, reach), "normal quantile", "latent − normal"
    )
    plot.line(normal[[0, -1]], np.zeros(2), "band-line")
    for k, name in enumerate(found.columns):
        told = (
            f"{name}: off by {100 * found.gaps[k]:.1f} % of the rows at most, p = {found.column_p[k]:.3g}"
        )
        plot.line(normal, off[k], "data thin", told)
    about = (
        f"Quantiles of each latent column less those of a standard normal: flat at 0 where right. "
        f"{found.in_words()}"
    )
    table = tuple(
        (name, f"{100 * gap:.2f} %", number(float(p)))
        for name, gap, p in zip(found.columns, found.gaps, found.column_p, strict=True)
    )
    return Drawing(
        "latent",
        "Latent",
        about,
        plot.svg("latent", "Latent quantiles", about),
        ("column", "largest distance from Φ", "p, corrected"),
        table,
    )


def of_likelihood(rows: Rows, draws: Rows) -> Drawing:
    """Draw log p of the rows beside that of draws."""
    own, other = (part.log_p[np.isfinite(part.log_p)] for part in (rows, draws))
    both = np.concatenate([own, other])
    low, high = (float(v) for v in np.quantile(both, [0.002, 1.0]))
    edges = np.linspace(low, high if high > low else low + 1, 31)
    inner = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    a, b = (
        np.histogram(own, inner)[0] / max(len(own), 1),
        np.histogram(other, inner)[0] / max(len(other), 1),
    )
    plot = Plot(
        (float(edges[0]), float(edges[-1])),
        (0.0, 1.08 * max(float(a.max()), float(b.max()), 1e-9)),
        "log p, nats",
        "share",
    )
    table: list[tuple[Any, ...]] = []
    for k in range(len(a)):
        span = f"{edges[k]:.2f} … {edges[k + 1]:.2f}"
        told = f"log p {span}: {100 * a[k]:.1f} % of the rows, {100 * b[k]:.1f} % of the draws"
        plot.bar(edges[k], edges[k + 1], 0.0, float(a[k]), "data", told)
        table.append((span, f"{100 * a[k]:.1f} %", f"{100 * b[k]:.1f} %"))
    for k in range(len(a)):
        plot.line(edges[[k, k + 1]], np.array([b[k], b[k]]), "model strong")
    about = (
        "Log-density of the rows (bars) and of draws from the model (lines). The two agree where the "
        "rows follow the model."
    )
    return Drawing(
        "likelihood",
        "Log-density",
        about,
        plot.svg("likelihood", "Log-density", about),
        ("log p", "rows", "draws"),
        tuple(table),
    )


def of_beside(found: HeldOut) -> Drawing:
    """Draw nats of the model beside other densities, as intervals."""
    entries = [("this model", found.nats, found.error), *((b.name, b.nats, b.error) for b in found.beside)]
    return of_intervals(
        "nats",
        "Nats a row",
        "nats a row",
        [(n, v, v - 2 * e, v + 2 * e) for n, v, e in entries],
        "Mean log p of the rows with two standard errors: the higher the better.",
    )


def of_intervals(
    key: str, title: str, label: str, entries: Sequence[tuple[str, float, float, float]], about: str
) -> Drawing:
    """Draw a value and its interval for each name."""
    known = [v for _, *values in entries for v in values if np.isfinite(v)] or [0.0]
    margin = 0.08 * (max(known) - min(known)) or 0.5
    plot = Plot(
        (min(known) - margin, max(known) + margin),
        (-0.6, len(entries) - 0.4),
        label,
        "",
        high=70 + 30 * len(entries),
        y_ticks=False,
    )
    for k, (name, value, low, high) in enumerate(reversed(entries)):
        told = f"{name}: {value:.4g} ({low:.4g} … {high:.4g})"
        if np.isfinite([low, high]).all():
            plot.line(np.array([low, high]), np.array([k, k]), "data strong")
        if np.isfinite(value):
            plot.dot(value, k, "dot", told, 5)
            end = "end" if plot.across(value) > 340 else "start"
            at = plot.across(value) + (-8 if end == "end" else 8)
            shown = name if len(name) <= 48 else name[:47] + "…"
            plot.marks.append(
                f'<text x="{at:.1f}" y="{plot.up(k) - 8:.1f}" text-anchor="{end}">{escape(shown)}</text>'
            )
    picture = plot.svg(key, title, about)
    table = tuple(
        (name, number(value), f"{number(low)} … {number(high)}") for name, value, low, high in entries
    )
    return Drawing(key, title, about, picture, ("", label, "interval"), table)
