"""The piecewise-cubic spline: Steffen's monotone interpolation, as a law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.kernels.safe import bounded
from diffeo.kernels.snap import snap
from diffeo.laws.knots import Knots, Piece, box_corners, check_box, largest_share, through
from diffeo.laws.law import Law
from diffeo.registry import register

#: Newton's steps after the closed root: the last three of them carry derivatives, see :func:`_polished`.
_STEPS = 3


@register("laws.CubicSpline")
@dataclass(frozen=True)
class CubicSpline(Law):
    """A monotone spline of ``bins`` cubics on [−bound, bound], with straight tails.

    In bin k, of width w, height h, mean slope s = h / w and end slopes δ₀ = a s, δ₁ = b s, with
    ξ = (u − x_k) / w,

        v = y_k + h (a ξ (1 − ξ)² + (3 − b) ξ² (1 − ξ) + ξ³),
        ∂v/∂u = s (a (1 − ξ)² + 2 (3 − a − b) ξ (1 − ξ) + b ξ²),

    which increases since a and b are below 3 and their sum is below 6. The slopes at inner knots are
    Steffen's: the mean of the two bins' slopes, each weighted by the other's width, but at most twice the
    smaller of them. θ holds, for each element, K raw widths and K raw heights (through a softmax, at least
    ``min_bin`` of the whole each) and, for ``tails="matching"``, where the map goes on beyond the box with
    the slope at its edge, two raw shares 3 / (1 + 2 exp(−r)) of the outer bins' mean slopes. For
    ``tails="linear"`` the edges have slope 1, as the tails have, or as near to 3 times the outer bin's
    mean slope as is allowed where that is less. θ = 0 is the identity. The inverse is the root of a cubic.

    Source: Durkan, Bekasov, Murray & Papamakarios, *Cubic-Spline Flows* (2019), section 3; Steffen,
    *A simple method for monotonic interpolation in one dimension* (1990), equation 11.

    Args:
        bins: K.
        bound: half the width of the box. Data should be standardised to lie mostly inside it.
        tails: "matching" or "linear".
        min_bin: the smallest width and height, as a share of the box.
        min_slope: how near the slope at an edge may come to 0 and to 3, as a share of its bin's mean slope.

    >>> law = CubicSpline(bins=4)
    >>> v, log_slope = law.forward(torch.tensor([0.5, 7.0]), torch.zeros(2, law.n_params))
    >>> v, log_slope
    (tensor([0.5000, 7.0000]), tensor([0., 0.]))
    """

    bins: int = 8
    bound: float = 3.0
    tails: str = "matching"
    min_bin: float = 1e-3
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        check_box(self.bins, self.bound, self.tails, self.min_bin)
        number("min_slope", self.min_slope, above=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 2 K + 2, or 2 K with linear tails."""
        return 2 * self.bins + (2 if self.tails == "matching" else 0)

    def knots(self, theta: Tensor) -> Knots:
        """Return the knots that θ stands for."""
        k = self.bins
        xs, ys = box_corners(theta[..., : 2 * k], self.bound, self.min_bin)
        widths = xs.diff(dim=-1)
        means = ys.diff(dim=-1) / widths
        outer = torch.stack([means[..., 0], means[..., -1]], -1)
        if self.tails == "matching":
            limit = math.log((3 - self.min_slope) / (2 * self.min_slope))
            edges = 3 * outer / (1 + 2 * torch.exp(-bounded(theta[..., 2 * k :], limit)))
        else:
            edges = ((3 - self.min_slope) * outer).clamp(max=1.0)
        slopes = torch.cat([edges[..., :1], _steffen(means, widths), edges[..., 1:]], -1)
        return Knots(xs, ys, slopes)

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return snap(u, theta, *through(u, self.knots(theta), self.bound, self.tails, _forward))

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        knots = self.knots(theta)
        return snap(v, theta, *through(v, knots, self.bound, self.tails, _inverse, inverse=True))

    def slope_bounds(self) -> tuple[float, float]:
        """Return min_slope / 6 times the flattest and 3 times the steepest mean slope of a bin.

        The slope is a parabola with Bernstein coefficients s (a, 3 − a − b, b), so at most 3 s. Where the
        middle one is not negative it is at least s min(a, b) / 2. Elsewhere it is at least
        s (a b − (a + b − 3)²) / (3 (a + b) − 6); above, the fraction is concave and smallest at a corner,
        so at least m (3 − m) for a and b at most 3 − m; below it is at most 12.
        """
        share = largest_share(self.bins, self.min_bin)
        return self.min_slope / 6 * min(1.0, self.min_bin / share), 3 * max(1.0, share / self.min_bin)


def _steffen(means: Tensor, widths: Tensor) -> Tensor:
    """Return the slopes at inner knots, for the bins' mean slopes and widths."""
    before, after = means[..., :-1], means[..., 1:]
    left, right = widths[..., :-1], widths[..., 1:]
    weighted = (before * right + after * left) / (left + right)
    return torch.minimum(2 * torch.minimum(before, after), weighted)


def _risen(xi: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return (v − y_k) / h at ξ."""
    rest = 1 - xi
    return xi * (a * rest**2 + (3 - b) * xi * rest + xi**2)


def _steepness(xi: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ∂v/∂u / s at ξ."""
    rest = 1 - xi
    return a * rest**2 + 2 * (3 - a - b) * xi * rest + b * xi**2


def _forward(u: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    xi, s = piece.share(u), piece.mean
    a, b = piece.first / s, piece.last / s
    return piece.bottom + piece.height * _risen(xi, a, b), (s * _steepness(xi, a, b)).log()


def _inverse(v: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    s = piece.mean
    a, b = piece.first / s, piece.last / s
    xi = _polished(piece.rise(v) / piece.height, a, b)
    return piece.left + piece.width * xi, -(s * _steepness(xi, a, b)).log()


def _polished(risen: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ξ where the spline has risen so far: the closed root, then Newton's steps, which carry
    its derivatives, those of the implicit function.
    """
    xi = _closed_root(risen.detach(), a.detach(), b.detach())
    for _ in range(_STEPS):
        xi = (xi - (_risen(xi, a, b) - risen) / _steepness(xi, a, b)).clamp(0, 1)
    return xi


def _closed_root(risen: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return ξ by Cardano's and Viète's formulas, to about the square root of a rounding where g is flat.

    Seen from its farther end the bin has risen by t ≥ ½ at ξ ≥ 1/6, so that the cubic in η = 1 / ξ,

        t η³ − a η² − (3 − 2 a − b) η − (a + b − 2) = 0,

    has coefficients of one size. Its largest root is the one at η ≥ 1; all others are below 1, since the
    spline increases.
    """
    near = risen < 0.5
    t = torch.where(near, 1 - risen, risen)
    a, b = torch.where(near, b, a), torch.where(near, a, b)
    third, linear = a / (3 * t), (3 - 2 * a - b) / (3 * t)
    # η = x + third, x³ − 3 p x − 2 q = 0.
    p = third**2 + linear
    q = third**3 + 1.5 * third * linear + (a + b - 2) / (2 * t)
    excess = q**2 - p**3
    tiny = torch.finfo(t.dtype).tiny
    cube = q.abs() + excess.clamp(min=0).sqrt()
    side = torch.exp(cube.clamp(min=tiny).log() / 3)
    single = torch.where(q < 0, -1.0, 1.0) * (side + p / side)
    size = p.clamp(min=tiny).sqrt()
    angle = torch.acos((q / size**3).nan_to_num().clamp(-1, 1))
    three = 2 * size * torch.cos(angle / 3)
    xi = 1 / (torch.where(excess < 0, three, single) + third).clamp(1, 6)
    return torch.where(near, 1 - xi, xi)
