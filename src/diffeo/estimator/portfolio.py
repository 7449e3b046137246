"""The flows that may be tried on a table: which, how large, and how they are trained.

Autoregressive splines need few layers, and learn most in a second where columns are few; couplings draw
samples in one pass; affine layers take the least parameters a column, so that of dozens of columns they see
the most rows in a second. Sizes follow the rows: a network that can learn a few hundred rows by heart is of
no use; and the time, where it is long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from diffeo.bijections import Autoregressive, Bijection, Chain, Coupling, Mask, Whiten
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.laws import Affine, Inverted, Law, RationalQuadratic

#: Fewer training rows than this are few: what learns them is kept small and noisy.
FEW = 2_000

#: From so many columns on affine layers are tried too, where there are as many rows: in patches of
#: photographs they are 4 nats ahead of splines after a minute.
BROAD, BROAD_ROWS = 16, 5_000

#: Seconds and rows from which the networks of affine layers are twice as wide, and a flow is tried too that
#: has splines in the place of so many layers, those next to the noise: of patches of photographs it takes
#: ten minutes of a core to come as far as affine layers alone, and gains more by each minute then.
LONG, LONG_ROWS = 600.0, 100_000
CURVED = 2

ARCHITECTURES = ("spline-coupling", "spline-autoregressive", "affine")


@dataclass(frozen=True)
class Candidate:
    """A flow that may be tried.

    Attributes:
        architecture: of :data:`ARCHITECTURES`.
        view: the columns' coordinates, "gaussian" or "standard".
        transforms: layers.
        width: units of each of the two hidden layers of a conditioner.
        linear: whether columns are decorrelated first: layers then start at the Gaussian of the rows.
        bins: of a spline.
        learning_rate, batch_size, weight_decay, noise: as in :class:`~diffeo.training.TrainConfig`.
        curved: how many of the layers, those next to the noise, are splines where the others are affine.
    """

    architecture: str
    view: str
    transforms: int
    width: int
    linear: bool = False
    bins: int = 8
    learning_rate: float = 4e-3
    batch_size: int = 512
    weight_decay: float = 1e-4
    noise: float = 0.0
    curved: int = 0

    @property
    def name(self) -> str:
        """Return what it is in a few words."""
        start = ", decorrelated" if self.linear else ""
        curved = f", {self.curved} of them splines" if self.curved else ""
        return f"{self.architecture} {self.transforms} × {self.width}{curved}, {self.view} view{start}"

    def build(self, columns: int, context: int) -> Flow:
        """Return the flow, untrained."""
        spline = Inverted(RationalQuadratic(self.bins, bound=4.0, min_slope=1e-2 if self.noise else 1e-3))
        layers: list[Bijection] = []
        hidden = (self.width, self.width)
        for k in range(self.transforms):
            law: Law = Affine(2.0) if self.architecture == "affine" and k >= self.curved else spline
            if self.architecture == "spline-coupling" and columns > 1:
                mask = _mask(columns, k)
                net = MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=hidden, context=context)
                layers.append(Coupling(law, net, mask))
            else:
                order = "descending" if k % 2 else "ascending"
                masked = MaskedMLP(columns, law.n_params, hidden=hidden, context=context, order=order)
                layers.append(Autoregressive(law, masked))
        if self.linear:
            layers.append(Whiten(columns, "cholesky"))
        return Flow(StandardNormal(columns), Chain(*layers))


def _mask(columns: int, k: int) -> Mask:
    """Return a random half of the columns, and the other half next: every pair of them is parted soon."""
    order = torch.randperm(columns, generator=torch.Generator().manual_seed(k // 2))
    passed = torch.zeros(columns, dtype=torch.bool)
    passed[order[: (columns + 1) // 2]] = True
    return Mask.given(~passed if k % 2 else passed)


def habits(rows: int) -> dict[str, Any]:
    """Return the size of a batch, and how few rows are kept from being learnt by heart: decay and noise.

    >>> habits(100)["noise"], habits(100_000)["noise"]
    (0.05, 0.0)
    """
    few = rows < FEW
    return {
        "batch_size": 64 if few else 256,
        "weight_decay": 1e-2 if few else 1e-4,
        "noise": 0.05 if few else 0.02 if rows < 10_000 else 0.0,
    }


def portfolio(
    rows: int, columns: int, context: int, budget: float, views: Sequence[str], architecture: str = "auto"
) -> list[Candidate]:
    """Return the candidates for a table, the likeliest first.

    Args:
        rows: training rows.
        columns: D.
        context: features of the context.
        budget: seconds for all flows.
        views: the views that the columns can be seen in.
        architecture: "auto", or the only one of :data:`ARCHITECTURES` that may be tried.
    """
    few = rows < FEW
    bins = 4 if few else 8
    if columns * bins > 1_000:
        bins = 4
    small = 32 if rows < 500 else 64
    broad = _affine_size(rows, columns, budget)
    sizes = {
        "spline-coupling": (4 if few else 8, small),
        "spline-autoregressive": (2, small if rows < 5_000 else 128),
        "affine": broad or (4, small),
    }
    rates = dict.fromkeys(sizes, 3e-3 if few else 8e-3)
    if broad:
        rates["affine"] = 6e-3 if broad[1] <= 256 else 4e-3
    sure = rows > 4 * columns  # of their covariance
    found = [
        Candidate(kind, view, depth, width, kind == "affine" and sure, bins, rates[kind], **habits(rows))
        for view in views
        for kind, (depth, width) in sizes.items()
    ]
    if architecture != "auto":
        return [c for c in found if c.architecture == architecture]
    if columns > 150:
        order = [c for c in found if c.architecture == "affine"]
    elif columns == 1:
        order = [c for c in found if c.architecture == "spline-autoregressive"]
    else:
        order = [c for c in found if c.architecture != "affine"]
        if broad:
            # First, for it learns most in few steps; of standardised columns, where there is that view.
            affine = [c for c in found if c.architecture == "affine"][-1]
            if _long(rows, budget):
                affine = replace(affine, batch_size=512)
                order.insert(0, replace(affine, curved=CURVED))
            order.insert(0, affine)
    return order[: 2 if budget < 10 else 4]


def _affine_size(rows: int, columns: int, budget: float) -> tuple[int, int] | None:
    """Return layers and width of affine flows that are worth a try beside splines, or None."""
    if not BROAD <= columns <= 150 or rows < BROAD_ROWS:
        return None
    return (6, 512) if _long(rows, budget) else (6, 256 if rows >= 20_000 else 128)


def _long(rows: int, budget: float) -> bool:
    return LONG <= budget < math.inf and rows >= LONG_ROWS
