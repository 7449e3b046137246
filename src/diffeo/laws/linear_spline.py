"""The piecewise-linear spline: a histogram as a law."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.kernels.snap import snap
from diffeo.laws.knots import Knots, Piece, check_box, corners, largest_share, shares, through
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.LinearSpline")
@dataclass(frozen=True)
class LinearSpline(Law):
    """A monotone spline of ``bins`` straight pieces of equal width on [−bound, bound].

    In bin k, of width w = 2 bound / K and height h_k,

        v = y_k + (h_k / w) (u − x_k),   ∂v/∂u = h_k / w.

    θ holds K raw heights for each element (through a softmax, each at least ``min_bin`` of the whole).
    The slope jumps at the knots, so the density that it gives has steps, as a histogram has; a smooth one
    wants :class:`~diffeo.laws.QuadraticSpline` or :class:`~diffeo.laws.RationalQuadratic`. Beyond the
    box the map goes on with the slope of its edge bin (``tails="matching"``), or is the identity
    (``tails="linear"``).

    Source: Müller, McWilliams, Rousselle, Gross & Novák, *Neural Importance Sampling* (2019), section 4.1.

    Args:
        bins: K.
        bound: half the width of the box. Data should be standardised to lie mostly inside it.
        tails: "matching" or "linear".
        min_bin: the smallest height, as a share of the box.

    >>> law = LinearSpline(bins=2, bound=1.0, tails="linear")
    >>> theta = torch.tensor([[1.0986, 0.0]]).expand(3, 2)  # log 3: heights 3 : 1
    >>> v, log_slope = law.forward(torch.tensor([-0.5, 0.5, 2.0]), theta)
    >>> v
    tensor([-0.2505,  0.7495,  2.0000])
    """

    bins: int = 8
    bound: float = 3.0
    tails: str = "matching"
    min_bin: float = 1e-3

    def __post_init__(self) -> None:
        check_box(self.bins, self.bound, self.tails, self.min_bin)

    @property
    def n_params(self) -> int:
        """Return K."""
        return self.bins

    def knots(self, theta: Tensor) -> Knots:
        """Return the knots that θ stands for; a bin's slope is that of its left knot."""
        heights = shares(theta, self.min_bin)
        slopes = heights * self.bins  # a difference of ys would have their rounding
        xs = corners(torch.full_like(heights, 1 / self.bins), self.bound)
        ys = corners(heights, self.bound)
        return Knots(xs, ys, torch.cat([slopes, slopes[..., -1:]], -1))

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return snap(u, theta, *through(u, self.knots(theta), self.bound, self.tails, _forward))

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        knots = self.knots(theta)
        return snap(v, theta, *through(v, knots, self.bound, self.tails, _inverse, inverse=True))

    def slope_bounds(self) -> tuple[float, float]:
        """Return the slopes of the lowest and of the highest bin that there can be."""
        lowest, highest = self.min_bin * self.bins, largest_share(self.bins, self.min_bin) * self.bins
        if self.tails == "linear":
            return min(lowest, 1.0), max(highest, 1.0)
        return lowest, highest


def _forward(u: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    return piece.bottom + piece.height * piece.share(u), piece.first.log()


def _inverse(v: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    return piece.left + piece.width * (piece.rise(v) / piece.height), -piece.first.log()
