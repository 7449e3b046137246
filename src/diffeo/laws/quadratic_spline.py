"""The piecewise-quadratic spline: a density of straight pieces, as a law."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import ConfigError, number
from diffeo.kernels.snap import snap
from diffeo.laws.knots import Knots, Piece, check_box, corners, largest_share, shares, through
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.QuadraticSpline")
@dataclass(frozen=True)
class QuadraticSpline(Law):
    """A monotone spline of ``bins`` parabolas on [−bound, bound]: its slope is continuous, and straight.

    In bin k, of width w and end slopes δ₀, δ₁, with ξ = (u − x_k) / w,

        v = y_k + w (δ₀ ξ + (δ₁ − δ₀) ξ² / 2),   ∂v/∂u = (1 − ξ) δ₀ + ξ δ₁,

    and in the other direction (∂v/∂u)² = ((h − r) δ₀² + r δ₁²) / h for the rise r = v − y_k of the bin's
    height h = w (δ₀ + δ₁) / 2, a sum of positive terms, and ξ = 2 r / (w (δ₀ + ∂v/∂u)).

    θ holds, for each element, K raw widths (through a softmax, each at least ``min_bin`` of the whole) and
    the raw slopes at the knots, whose exponentials are normalised so that the whole rises by the box, and
    mixed with 1 so that each is at least ``min_slope``: all K + 1 for ``tails="matching"``, where the map
    goes on beyond the box with the slope that it has at its edge; the K − 1 inner ones for
    ``tails="linear"``, where the edges have slope 1 (at least two bins then). θ = 0 is the identity.

    Source: Müller, McWilliams, Rousselle, Gross & Novák, *Neural Importance Sampling* (2019), section 4.2;
    Durkan, Bekasov, Murray & Papamakarios, *Neural Spline Flows* (2019).

    Args:
        bins: K.
        bound: half the width of the box. Data should be standardised to lie mostly inside it.
        tails: "matching" or "linear".
        min_bin: the smallest width, as a share of the box.
        min_slope: the smallest slope at a knot.

    >>> law = QuadraticSpline(bins=1, bound=1.0)
    >>> theta = torch.tensor([0.0, 0.0, 1.0986])  # slopes 1 : 3
    >>> v, log_slope = law.forward(torch.tensor(0.0), theta)
    >>> v
    tensor(-0.2497)
    """

    bins: int = 8
    bound: float = 3.0
    tails: str = "matching"
    min_bin: float = 1e-3
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        check_box(self.bins, self.bound, self.tails, self.min_bin)
        number("min_slope", self.min_slope, above=0, below=1)
        if self.tails == "linear" and self.bins == 1:
            raise ConfigError(
                "bins=1 must be at least 2 with tails='linear': one parabola between slopes of 1 is a "
                "straight line; choose more bins or tails='matching'."
            )

    @property
    def n_params(self) -> int:
        """Return 2 K + 1, or 2 K − 1 with linear tails."""
        return 2 * self.bins + (1 if self.tails == "matching" else -1)

    def knots(self, theta: Tensor) -> Knots:
        """Return the knots that θ stands for."""
        widths = shares(theta[..., : self.bins], self.min_bin)
        raw = theta[..., self.bins :]
        slopes = (raw - raw.amax(-1, keepdim=True).detach()).exp()
        if self.tails == "linear":
            # The slope that both edges need to be the mean of all: c = ((w₀ + w_K₋₁) c + rest) / 2.
            ends = torch.nn.functional.pad(slopes, (1, 1))
            rest = _area(ends, widths)
            edge = (rest / (1 - (widths[..., 0] + widths[..., -1]) / 2)).unsqueeze(-1)
            slopes = torch.nn.functional.pad(slopes / edge, (1, 1), value=1.0)
        else:
            slopes = slopes / _area(slopes, widths).unsqueeze(-1)
        slopes = self.min_slope + (1 - self.min_slope) * slopes
        heights = (slopes[..., 1:] + slopes[..., :-1]) / 2 * widths
        return Knots(corners(widths, self.bound), corners(heights, self.bound), slopes)

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return snap(u, theta, *through(u, self.knots(theta), self.bound, self.tails, _forward))

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        knots = self.knots(theta)
        return snap(v, theta, *through(v, knots, self.bound, self.tails, _inverse, inverse=True))

    def slope_bounds(self) -> tuple[float, float]:
        """Return ``min_slope``, and what a peak reaches whose two halves are all that rises."""
        # A knot whose bins have at least min_bin together (half of it, at an edge) has slope 2 / min_bin.
        peak = 2 / (self.min_bin if self.bins > 1 else largest_share(self.bins, self.min_bin))
        return self.min_slope, self.min_slope + (1 - self.min_slope) * peak


def _area(slopes: Tensor, widths: Tensor) -> Tensor:
    """Return Σ_k w_k (δ_k + δ_k₊₁) / 2."""
    return ((slopes[..., 1:] + slopes[..., :-1]) / 2 * widths).sum(-1)


def _forward(u: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    xi = piece.share(u)
    slope = piece.first * (1 - xi) + piece.last * xi
    return piece.bottom + piece.width * xi * (piece.first + slope) / 2, slope.log()


def _inverse(v: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    rise = piece.rise(v)
    share = rise / piece.height
    slope = torch.sqrt((1 - share) * piece.first**2 + share * piece.last**2)
    return piece.left + 2 * rise / (piece.first + slope), -slope.log()
