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
    """Return the cases with a goal."""
    found = list(_training(quick)) + list(_densities(quick)) + list(_samples(quick))
    return [dataclasses.replace(case, device="cpu") for case in found]


def _training(quick: bool) -> Iterator[Case]:
    for features in (6, 43, 784):
        for rows, goal in ((512, 2.0), (4096, 3.0)):
            if not quick or (features == 43 or rows == 512):
                floor = 1.5 if rows == 4096 else None
                yield Case("train", features=features, rows=rows, goal=goal, floor=floor)
    for features in (6, 43):
        for rows, goal in ((512, 2.5), (4096, 3.0)):
            if not quick or features == 43:
                floor = 2.0 if rows == 4096 else None
                yield Case("train", "spline", features=features, rows=rows, goal=goal, floor=floor)
    for law in ("affine", "spline"):
        for rows in (512,) if quick else (512, 4096):
            yield Case("train", law, "autoregressive", rows=rows, goal=2.0)


def _densities(quick: bool) -> Iterator[Case]:
    rows = 20_000 if quick else 1_000_000
    yield Case("log_prob", rows=rows, goal=2.0)
    yield Case("log_prob", "spline", rows=rows, goal=2.0)
    if not quick:
        yield Case("log_prob", "affine", "autoregressive", rows=rows, goal=2.0)
        yield Case("log_prob", "spline", "autoregressive", rows=rows, goal=2.0)


def _samples(quick: bool) -> Iterator[Case]:
    for rows in (512,) if quick else (512, 4096):
        yield Case("sample", rows=rows, goal=1.5)
        yield Case("sample", "spline", rows=rows, goal=1.5)
        yield Case("sample", "affine", "autoregressive", rows=rows, goal=8.0)
        if not quick:
            yield Case("sample", "spline", "autoregressive", rows=rows, goal=8.0)


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
    return [Case("train", rows=4096, layers=layers) for layers in ((8, 128) if quick else (8, 32, 128))]
