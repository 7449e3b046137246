"""What is timed: flows of one size, and the work that each library does with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

#: Rows that a density is asked for at once, in the work "log_prob".
CHUNK = 10_000


@dataclass(frozen=True)
class Case:
    """A flow and what is done with it.

    Attributes:
        work: "train" (a step of Adam on the mean negative log-density), "log_prob" or "sample".
        law: "affine" or "spline" (rational-quadratic, ``bins`` bins on [−3, 3]).
        structure: "coupling" or "autoregressive", with log_prob the one-pass direction.
        features: D.
        rows: B, the rows of a step, of a density or of a sample.
        layers: K.
        hidden: the width of the two hidden layers (relu) of each conditioner.
        bins: of a spline.
        goal: the least ratio (fastest peer's time / ours) that is wanted, or None.
        floor: the largest ratio (our time / the matrix products') that is wanted, or None.
        group: the part of the report: "speed" or "growth".
        device: "cpu" or "cuda".
    """

    work: str
    law: str = "affine"
    structure: str = "coupling"
    features: int = 43
    rows: int = 512
    layers: int = 8
    hidden: int = 256
    bins: int = 8
    goal: float | None = None
    floor: float | None = None
    group: str = "speed"
    device: str = "cpu"

    @property
    def name(self) -> str:
        """Return what stands in a table."""
        flow = {
            ("affine", "coupling"): "affine coupling",
            ("spline", "coupling"): "RQ-spline coupling",
            ("affine", "autoregressive"): "MAF",
            ("spline", "autoregressive"): "RQ-spline autoregressive",
        }[self.law, self.structure]
        layers = "" if self.layers == 8 else f", K={self.layers}"
        return f"{self.work}, {flow}, D={self.features}{layers}, B={self.rows}"

    @property
    def flow(self) -> tuple[object, ...]:
        """Return what the flow depends on."""
        return self.law, self.structure, self.features, self.layers, self.hidden, self.bins, self.device

    @property
    def passed(self) -> tuple[int, int]:
        """Return how many features the two halves have."""
        return self.features - self.features // 2, self.features // 2

    @property
    def n_params(self) -> int:
        """Return our law's parameters per element: 2, or 3 · bins + 1."""
        return 2 if self.law == "affine" else 3 * self.bins + 1


def speed(quick: bool) -> list[Case]:
    """Return the cases with a goal; for the quick mode a few of them, and densities of fewer rows."""
    if not quick:
        return [*_training(), *_densities(1_000_000), *_samples()]
    wanted = {
        ("affine", "coupling", 6, 512),
        ("affine", "coupling", 43, 512),
        ("affine", "coupling", 43, 4096),
        ("spline", "coupling", 43, 512),
        ("affine", "autoregressive", 43, 512),
    }
    trained = [c for c in _training() if (c.law, c.structure, c.features, c.rows) in wanted]
    drawn = [c for c in _samples() if c.rows == 512 and (c.law == "affine")]
    return [*trained, *drawn, *(c for c in _densities(20_000) if c.structure == "coupling")]


def _training() -> Iterator[Case]:
    for features in (6, 43, 784):
        yield Case("train", features=features, rows=512, goal=2.0)
        yield Case("train", features=features, rows=4096, goal=3.0, floor=1.5)
    for features in (6, 43):
        yield Case("train", "spline", features=features, rows=512, goal=2.5)
        yield Case("train", "spline", features=features, rows=4096, goal=3.0, floor=2.0)
    for law in ("affine", "spline"):
        for rows in (512, 4096):
            yield Case("train", law, "autoregressive", rows=rows, goal=2.0)


def _densities(rows: int) -> Iterator[Case]:
    for structure in ("coupling", "autoregressive"):
        for law in ("affine", "spline"):
            yield Case("log_prob", law, structure, rows=rows, goal=2.0)


def _samples() -> Iterator[Case]:
    for structure, goal in (("coupling", 1.5), ("autoregressive", 8.0)):
        for law in ("affine", "spline"):
            for rows in (512, 4096):
                yield Case("sample", law, structure, rows=rows, goal=goal)


def growth(quick: bool) -> list[tuple[str, Case]]:
    """Return the cases whose size grows along one axis, with the name of the axis: "D", "K" or "B"."""
    base = Case("train", features=64, rows=1024, group="growth")
    axes = {
        "D": ("features", (16, 64, 256) if quick else (8, 16, 32, 64, 128, 256, 512, 1024)),
        "K": ("layers", (2, 8, 16) if quick else (2, 4, 8, 16, 32, 64)),
        "B": ("rows", (256, 1024, 4096) if quick else (128, 256, 512, 1024, 2048, 4096, 8192, 16384)),
    }
    return [
        (axis, dataclasses.replace(base, **{field: size}))
        for axis, (field, sizes) in axes.items()
        for size in sizes
    ]


def depths(quick: bool) -> list[Case]:
    """Return the cases whose memory is measured."""
    rows, layers = (1024, (8, 128)) if quick else (4096, (8, 32, 128))
    return [Case("train", rows=rows, layers=count) for count in layers]
