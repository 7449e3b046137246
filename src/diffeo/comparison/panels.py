"""The panels of the picture: densities, samples and latents, for the plane, for tables and for images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.comparison.rows import Rows
from diffeo.errors import DiffeoError

Array = NDArray[np.float64]

_GRID, _POINTS, _TILES = 90, 1_500, 6
_INK = "#22223b"


@dataclass(frozen=True)
class View:
    """How rows are drawn: the plane itself, or the first two principal components of standard rows.

    Attributes:
        rows: the data.
        axes: the two directions in standard rows, (features, 2); None on the plane.
        box: the limits (left, right, bottom, top).
    """

    rows: Rows
    axes: Array | None
    box: tuple[float, float, float, float]

    @classmethod
    def of(cls, rows: Rows) -> View:
        """Return the view of the data, with limits that hold 99 % of them."""
        axes = None
        if rows.features != 2 or rows.images:
            standard = rows.standard(rows.train)
            axes = np.linalg.svd(standard - standard.mean(0), full_matrices=False)[2][:2].T
            if axes.shape[1] < 2:
                axes = np.concatenate([axes, np.zeros_like(axes)], 1)
        view = cls(rows, axes, (0.0, 1.0, 0.0, 1.0))
        low, high = np.quantile(view.place(rows.train), [0.005, 0.995], axis=0)
        margin = np.maximum(0.15 * (high - low), 1e-9)
        (left, bottom), (right, top) = low - margin, high + margin
        return cls(rows, axes, (float(left), float(right), float(bottom), float(top)))

    @property
    def plane(self) -> bool:
        """Return whether rows are points of the plane."""
        return self.axes is None

    def place(self, x: Array) -> Array:
        """Return where rows are drawn, (rows, 2)."""
        if self.axes is None:
            return x.reshape(len(x), 2)
        return self.rows.standard(x) @ self.axes

    def colour(self, x: Array) -> Array:
        """Return a number in [0, 1] for each row: the angle at which it lies around the data's middle."""
        away = self.place(x) - self.place(self.rows.train).mean(0)
        return np.arctan2(away[:, 1], away[:, 0]) / (2 * math.pi) + 0.5


def draw_density(
    ax: Any, view: View, log_prob: Any, brightest: float | None, otherwise: str = "no density"
) -> float | None:
    """Draw a density on the plane, or how log p of held-out rows is spread; return its largest value.

    Args:
        ax: where.
        view: how rows are drawn.
        log_prob: of rows as the model takes them; None says that there is none.
        brightest: the largest density that is drawn as such, so that panels compare; None: its own.
        otherwise: what is said where there is none.
    """
    if log_prob is None:
        _say(ax, otherwise)
        return None
    if not view.plane:
        scores = np.asarray(log_prob(view.rows.held))
        ax.hist(scores[np.isfinite(scores)], bins=40, color="#5e8c9a")
        ax.set_xlabel("log p(x) of held-out rows, nats", fontsize=7)
        ax.tick_params(labelsize=6)
        ax.set_yticks([])
        return None
    left, right, bottom, top = view.box
    across, up = np.linspace(left, right, _GRID), np.linspace(bottom, top, _GRID)
    grid = np.stack(np.meshgrid(across, up, indexing="ij"), -1).reshape(-1, 2)
    density = np.exp(np.asarray(log_prob(grid))).reshape(_GRID, _GRID)
    most = float(np.nanmax(density)) if brightest is None else brightest
    # The square root keeps thin parts visible.
    ax.imshow(
        np.sqrt(density.T),
        origin="lower",
        extent=view.box,
        aspect="auto",
        cmap="YlGnBu",
        vmin=0,
        vmax=most**0.5,
    )
    _frame(ax, view)
    return most


def draw_samples(ax: Any, view: View, x: Array, *, beside: bool) -> None:
    """Draw rows: points, over the held-out rows in grey if ``beside``; images as tiles."""
    if view.rows.images:
        _tiles(ax, view, x)
        return
    if beside and not view.plane:
        ax.scatter(*view.place(view.rows.held[:_POINTS]).T, s=2, color="#bbbbbb", linewidths=0)
    ax.scatter(*view.place(x[:_POINTS]).T, s=2, color=_INK, linewidths=0, alpha=0.7)
    _frame(ax, view)


def draw_latent(ax: Any, view: View, z: Array | None, x: Array) -> None:
    """Draw latent numbers (of more than two, the two that spread most), coloured by where x lies."""
    if z is None:
        _say(ax, "no way from x to z")
        return
    z = z.reshape(len(z), -1)
    kept = np.isfinite(z).all(1)
    if z.shape[1] > 2:
        low, high = np.quantile(z[kept], [0.1, 0.9], axis=0)  # no single row chooses
        z = z[:, np.sort(np.argsort(low - high)[:2])]
    if z.shape[1] == 1:
        z = np.concatenate([z, np.zeros_like(z)], 1)
    ax.scatter(*z[kept].T, s=3, c=view.colour(x)[kept], cmap="hsv", vmin=0, vmax=1, linewidths=0)
    angle = np.linspace(0, 2 * math.pi, 100)
    for radius in (1, 2):
        ax.plot(radius * np.cos(angle), radius * np.sin(angle), color="#999999", lw=0.6)
    reach = max(3.2, 1.2 * float(np.quantile(np.abs(z[kept]), 0.98))) if kept.any() else 3.2
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")


def draw_colours(ax: Any, view: View) -> None:
    """Draw held-out rows in the colours that the latent panels have."""
    x = view.rows.held[:_POINTS]
    ax.scatter(*view.place(x).T, s=3, c=view.colour(x), cmap="hsv", vmin=0, vmax=1, linewidths=0)
    _frame(ax, view)


def scores_of(model: Any, images: bool) -> Any:
    """Return the function that scores rows as they are held; None for a model without a density."""
    if model.density == "implicit":
        return None

    def log_prob(x: Array) -> Array:
        return np.asarray(model.log_prob(x if images else x.reshape(len(x), -1)), dtype=np.float64)

    return log_prob


def latent_of(model: Any, rows: Rows, images: bool, seed: int) -> tuple[Array | None, Array]:
    """Return latent numbers and the rows that belong to them: of held-out rows, or of draws.

    A model that encodes shows held-out rows; a generator without a way back shows noise, and what it makes
    of it; others show nothing.
    """
    x = rows.held[:_POINTS]
    taken = x if images else x.reshape(len(x), -1)
    if hasattr(model, "encode"):
        try:
            return _array(model.encode(taken)), x
        except DiffeoError:
            return None, x
    if hasattr(model, "generate") and hasattr(model, "latent"):
        z = np.random.default_rng(seed).normal(size=(_POINTS, int(model.latent)))
        return z, _array(model.generate(z)).reshape(_POINTS, *rows.event)
    return None, x


def _array(given: Any) -> Array:
    found = given[0] if isinstance(given, tuple) else given
    return np.asarray(found.detach().cpu() if hasattr(found, "detach") else found, dtype=np.float64)


def _tiles(ax: Any, view: View, x: Array) -> None:
    channels, high, wide = view.rows.event
    count = min(len(x), _TILES**2)
    canvas = np.full((_TILES * (high + 1) - 1, _TILES * (wide + 1) - 1), np.nan)
    for k, image in enumerate(x[:count].reshape(count, channels, high, wide).mean(1)):
        row, column = divmod(k, _TILES)
        canvas[row * (high + 1) :, column * (wide + 1) :][:high, :wide] = image
    low, top = np.quantile(view.rows.train, [0.0, 1.0])
    ax.imshow(canvas, cmap="gray_r", vmin=low, vmax=top)
    ax.set(xticks=[], yticks=[])


def _say(ax: Any, text: str) -> None:
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color="#777777", transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])


def _frame(ax: Any, view: View) -> None:
    left, right, bottom, top = view.box
    ax.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
