"""The picture of a comparison: data and models side by side, structure, density, samples, latent."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.comparison.contenders import CONTENDERS
from diffeo.comparison.measuring import Entry
from diffeo.comparison.panels import (
    View,
    draw_colours,
    draw_density,
    draw_latent,
    draw_samples,
    latent_of,
    scores_of,
)
from diffeo.comparison.rows import Rows
from diffeo.comparison.schemes import draw_data, draw_scheme
from diffeo.comparison.table import nats_of
from diffeo.errors import ConfigError, FileError, a_path, one_of

if TYPE_CHECKING:
    from diffeo.comparison.result import Comparison

#: What is drawn where nobody says.
_FIRST = ("flow", "VAE", "GAN")

_EXTENSIONS = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")


def draw(result: Comparison, path: str | PathLike[str], models: Sequence[str] | None = None) -> None:
    """Write the picture; see :meth:`Comparison.figure`."""
    from matplotlib.figure import Figure as Picture

    check_picture(path)
    names, rows = _chosen(result, models), result.rows
    view = View.of(rows)
    picture = Picture(figsize=(2.9 * (len(names) + 1), 10.4), layout="constrained")
    axes = picture.subplots(4, len(names) + 1, squeeze=False, height_ratios=[0.62, 1, 1, 1])
    brightest = _draw_data(axes[:, 0], rows, view)
    for name, column in zip(names, axes.T[1:], strict=True):
        _draw_model(column, result.models[name], result.of(name)[0], rows, view, brightest)
    for ax, heading in zip(axes[:, 0], ("structure", "density", "samples", "latent"), strict=True):
        # An axis that is off has no label; so it is written.
        ax.text(-0.08, 0.5, heading, rotation=90, ha="right", va="center", transform=ax.transAxes)
    picture.savefig(path, dpi=110)


def check_picture(path: str | PathLike[str]) -> None:
    """Raise before anything is computed if no picture can be written there.

    >>> check_picture("picture.txt")
    Traceback (most recent call last):
    diffeo.errors.ConfigError: path 'picture.txt' ends in '.txt'; expected one of .png, .pdf, ...
    """
    a_path("path", path)
    target = Path(path)
    if target.suffix.lower() not in _EXTENSIONS:
        raise ConfigError(
            f"path {str(path)!r:.100} ends in {target.suffix!r}; expected one of {', '.join(_EXTENSIONS)}."
        )
    if target.is_dir() or not target.parent.is_dir():
        raise FileError(
            f"{str(path)!r:.100} cannot be written: it is a folder, or {str(target.parent)!r:.100} is not "
            "one. Choose a file in a folder that exists."
        )


def _chosen(result: Comparison, models: Sequence[str] | None) -> list[str]:
    fitted = [name for name in result.names if name in result.models and result.of(name)]
    if models is None:
        return [name for name in _FIRST if name in fitted] or fitted[:3]
    for name in models:
        one_of("models", name, fitted)
    return list(models)


def _draw_data(column: Any, rows: Rows, view: View) -> float | None:
    shape = f"{rows.features} columns" if not rows.images else "×".join(map(str, rows.event)) + " pixels"
    draw_data(column[0], rows.name, [f"{len(rows.train):,} rows trained on, {shape}"])
    column[0].set_title("the data", fontsize=10)
    brightest = draw_density(column[1], view, None if rows.toy is None else rows.truth, None, "not known")
    column[1].set_title("p(x), exact" if rows.toy is not None else "p(x) is not known", fontsize=8)
    draw_samples(column[2], view, rows.held, beside=False)
    column[2].set_title(
        "held-out rows" + ("" if view.plane or rows.images else ", 2 components"), fontsize=8
    )
    draw_colours(column[3], view)
    column[3].set_title("the colours of latents", fontsize=8)
    return brightest


def _draw_model(
    column: Any, model: Any, entry: Entry, rows: Rows, view: View, brightest: float | None
) -> None:
    known = [one.images for one in CONTENDERS.values() if one.name == entry.model]
    images = known[0] if known else True
    draw_scheme(column[0], str(model.density), hasattr(model, "encode"))
    column[0].set_title(entry.model, fontsize=10)
    draw_density(column[1], view, scores_of(model, images), brightest)
    told = {"lower bound": "a bound of log p(x)", "implicit": "none"}.get(entry.density, "p(x)")
    column[1].set_title(told if entry.scores is None else f"{told}: {nats_of(entry)} nats", fontsize=8)
    draws = np.asarray(model.sample(1_500, seed=entry.seed), dtype=np.float64)
    draw_samples(column[2], view, draws.reshape(-1, *rows.event), beside=True)
    regions = entry.beside.regions if entry.beside is not None else None
    column[2].set_title(
        "samples"
        if regions is None
        else f"precision {regions.precision:.2f}, coverage {regions.coverage:.2f}",
        fontsize=8,
    )
    z, x = latent_of(model, rows, images, entry.seed)
    draw_latent(column[3], view, z, x)
    encoded = hasattr(model, "encode")
    column[3].set_title(
        "" if z is None else "z of held-out rows" if encoded else "z of samples", fontsize=8
    )
