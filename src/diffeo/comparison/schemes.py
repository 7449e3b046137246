"""How each kind of model is built, drawn as a small scheme: boxes, arrows, and what is known of p(x)."""

from __future__ import annotations

from typing import Any

#: Colours of noise, of data and of networks.
_NOISE, _DATA, _NET = "#f6e7cb", "#d7e5ee", "#ececec"


def draw_scheme(ax: Any, density: str, encodes: bool) -> None:
    """Draw the structure of a model by what it knows of its density, and whether it has a way x → z."""
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    if density == "lower bound":
        _bounded(ax)
    elif density == "implicit":
        _implicit(ax)
    elif encodes:
        _invertible(ax)
    else:
        _written_down(ax)


def draw_data(ax: Any, name: str, facts: list[str]) -> None:
    """Write what the data are, where the models have their scheme."""
    ax.set(xlim=(0, 10), ylim=(0, 6))
    ax.axis("off")
    _box(ax, 5, 4.2, "x ~ p(x)", _DATA, width=3.4)
    for k, fact in enumerate([name, *facts]):
        _word(ax, 5, 2.5 - 0.8 * k, fact)


def _invertible(ax: Any) -> None:
    _box(ax, 1.6, 4.2, "z ~ N(0, 1)", _NOISE, width=2.9)
    _box(ax, 8.4, 4.2, "x", _DATA)
    _arrow(ax, (3.1, 4.5), (7.6, 4.5), "x = f(z)", above=True)
    _arrow(ax, (7.6, 3.9), (3.1, 3.9), "z = f⁻¹(x)", above=False)
    _word(ax, 5, 1.9, "log p(x) = log π(z) + log |det ∂z/∂x|")
    _word(ax, 5, 1.0, "exact density, both ways")


def _bounded(ax: Any) -> None:
    _box(ax, 0.9, 4.2, "x", _DATA)
    _box(ax, 5, 4.2, "z", _NOISE)
    _box(ax, 9.1, 4.2, "x̂", _DATA)
    _arrow(ax, (1.7, 4.2), (4.2, 4.2), "encoder q(z|x)", above=True)
    _arrow(ax, (5.8, 4.2), (8.3, 4.2), "decoder p(x|z)", above=True)
    _word(ax, 5, 1.9, "log p(x) ≥ E log p(x|z) p(z) / q(z|x)")
    _word(ax, 5, 1.0, "a lower bound")


def _implicit(ax: Any) -> None:
    _box(ax, 1.6, 5.0, "z ~ N(0, 1)", _NOISE, width=2.9)
    _box(ax, 6.0, 5.0, "x̃", _DATA)
    _box(ax, 6.0, 3.2, "x", _DATA)
    _box(ax, 9.0, 4.1, "D", _NET)
    _arrow(ax, (3.1, 5.0), (5.2, 5.0), "G", above=True)
    _arrow(ax, (6.8, 4.9), (8.2, 4.4), "", above=True)
    _arrow(ax, (6.8, 3.3), (8.2, 3.8), "", above=True)
    _word(ax, 4.4, 3.2, "data")
    _word(ax, 5, 1.9, "x̃ = G(z), judged by D; p(x) is never computed")
    _word(ax, 5, 1.0, "no density")


def _written_down(ax: Any) -> None:
    _box(ax, 1.4, 4.2, "x", _DATA)
    _box(ax, 8.2, 4.2, "p(x)", _NET, width=2.2)
    _arrow(ax, (2.2, 4.2), (7.1, 4.2), "a formula", above=True)
    _word(ax, 5, 1.9, "exact density, no latent z")


def _box(ax: Any, x: float, y: float, text: str, colour: str, width: float = 1.5) -> None:
    from matplotlib.patches import FancyBboxPatch

    place = (x - width / 2, y - 0.55)
    ax.add_patch(
        FancyBboxPatch(
            place, width, 1.1, boxstyle="round,pad=0.04,rounding_size=0.25", fc=colour, ec="#555"
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(
    ax: Any, start: tuple[float, float], end: tuple[float, float], text: str, *, above: bool
) -> None:
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "#444", "lw": 1.1})
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    ax.text(
        middle[0],
        middle[1] + (0.25 if above else -0.25),
        text,
        ha="center",
        va="bottom" if above else "top",
        fontsize=6.5,
    )


def _word(ax: Any, x: float, y: float, text: str) -> None:
    ax.text(x, y, text, ha="center", va="center", fontsize=7, color="#222")
