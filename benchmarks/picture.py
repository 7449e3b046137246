"""The picture of growth: a panel an axis, a line a library, both scales logarithmic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import growth


def draw(points: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of median seconds of a training step against D, K and B."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    axes_found = [axis for axis in growth.FIELDS if any(point["axis"] == axis for point in points)]
    figure, panels = plt.subplots(1, len(axes_found), figsize=(4.2 * len(axes_found), 3.8), squeeze=False)
    titles = {"D": "features D", "K": "layers K", "B": "rows B"}
    for panel, axis in zip(panels[0], axes_found, strict=True):
        for k, (name, (sizes, seconds)) in enumerate(growth.lines(points, axis).items()):
            ours = name.startswith("diffeo")
            panel.loglog(
                sizes,
                [1000 * s for s in seconds],
                marker="o" if ours else ".",
                linewidth=2.2 if ours else 1.0,
                linestyle="--" if name.endswith("float32") else "-",
                color="black" if ours else f"C{k % 10}",
                label=name,
            )
        sizes = sorted({point["case"][growth.FIELDS[axis]] for point in points if point["axis"] == axis})
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.minorticks_off()
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlabel(titles[axis])
        panel.grid(alpha=0.3, which="both")
    panels[0][0].set_ylabel("training step, ms")
    panels[0][-1].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
