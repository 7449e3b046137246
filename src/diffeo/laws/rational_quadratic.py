"""The rational-quadratic spline: a flexible law whose inverse is a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.kernels.native import MOST_BINS, Compiled
from diffeo.kernels.safe import bounded
from diffeo.laws.knots import Knots, Piece, box_corners, check_box, largest_share, through
from diffeo.laws.law import Law
from diffeo.registry import register


@register("laws.RationalQuadratic")
@dataclass(frozen=True)
class RationalQuadratic(Law):
    """A monotone spline of ``bins`` rational-quadratic pieces on [−bound, bound], with straight tails.

    In bin k, of width w, height h, mean slope s = h / w and end slopes δ₀, δ₁, with ξ = (u − x_k) / w:

        v = y_k + h (s ξ² + δ₀ ξ (1 − ξ)) / (s + (δ₀ + δ₁ − 2 s) ξ (1 − ξ)).

    θ holds, for each element, K raw widths and K raw heights (through a softmax, at least ``min_bin`` of
    the whole each) and the raw slopes (through exp, between ``min_slope`` and 1 / ``min_slope``): all
    K + 1 knots for ``tails="matching"``, where the map goes on beyond the box with the slope that it has
    at its edge; the K − 1 inner ones for ``tails="linear"``, where the edges have slope 1. θ = 0 is the
    identity. The inverse is the stable root of a quadratic.

    Source: Durkan, Bekasov, Murray & Papamakarios, *Neural Spline Flows* (2019), equations 4–8; exp of a
    bounded number stands for their softplus, so that slopes are bounded on both sides.

    Args:
        bins: K.
        bound: half the width of the box. Data should be standardised to lie mostly inside it.
        tails: "matching" or "linear".
        min_bin: the smallest width and height, as a share of the box.
        min_slope: the smallest slope at a knot.

    >>> law = RationalQuadratic(bins=4)
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
        """Return 3 K + 1, or 3 K − 1 with linear tails."""
        return 3 * self.bins + (1 if self.tails == "matching" else -1)

    def knots(self, theta: Tensor) -> Knots:
        """Return the knots that θ stands for."""
        k = self.bins
        slopes = knot_slopes(theta[..., 2 * k :], self.min_slope)
        if self.tails == "linear":
            slopes = torch.nn.functional.pad(slopes, (1, 1), value=1.0)
        xs, ys = box_corners(theta[..., : 2 * k], self.bound, self.min_bin)
        return Knots(xs, ys, slopes)

    def compiled(self) -> Compiled | None:
        """Return the kernels' spline; None for more bins than they have room for."""
        if self.bins > MOST_BINS:
            return None
        numbers = (self.bound, self.min_bin, -math.log(self.min_slope))
        return Compiled("rational quadratic", numbers, (self.bins, int(self.tails == "matching")))

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return through(u, self.knots(theta), self.bound, self.tails, bent)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        return through(v, self.knots(theta), self.bound, self.tails, unbent, inverse=True)

    def slope_bounds(self) -> tuple[float, float]:
        """Return s_min² · min(δ, s) / max(δ, s)² and 4 max(δ, s), over all slopes that there can be."""
        return slopes_between(self.bins, self.min_bin, self.min_slope)


def knot_slopes(raw: Tensor, least: float) -> Tensor:
    """Return slopes between ``least`` and 1 / ``least``, 1 where ``raw`` is 0."""
    return bounded(raw, -math.log(least)).exp()


def slopes_between(bins: int, min_bin: float, min_slope: float) -> tuple[float, float]:
    """Return bounds of the slope inside the box."""
    share = largest_share(bins, min_bin)
    steepest = max(share / min_bin, 1 / min_slope)
    flattest = min_bin / share
    return flattest**2 * min(flattest, min_slope) / steepest**2, 4 * steepest


def bent(u: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    """Return v and log ∂v/∂u of the piece that u falls in."""
    at = _at(piece, piece.share(u), _gentle(piece))
    value = torch.where(at.gentle, u + _excess(at), piece.bottom + _rise(at))
    return value, _log_slope(at)


def unbent(v: Tensor, piece: Piece) -> tuple[Tensor, Tensor]:
    """Return u and log ∂u/∂v of the piece that v falls in."""
    gentle = _gentle(piece)
    at = _at(piece, _root(piece, piece.rise(v), gentle), gentle)
    value = torch.where(gentle, v - _excess(at), piece.left + piece.width * at.xi)
    return value, -_log_slope(at)


class _At(NamedTuple):
    """A piece at ξ, with what its value and its slope are both made of.

    Attributes:
        bend: δ₀ + δ₁ − 2 s, which is 0 where the bin is straight.
        below: the denominator s + (δ₀ + δ₁ − 2 s) ξ (1 − ξ).
        above: δ₁ ξ² + 2 s ξ (1 − ξ) + δ₀ (1 − ξ)², which is (∂v/∂u) (denominator / s)².
    """

    piece: Piece
    xi: Tensor
    rest: Tensor
    gentle: Tensor
    mean: Tensor
    bend: Tensor
    below: Tensor
    above: Tensor


def _gentle(piece: Piece) -> Tensor:
    """Return whether all slopes are within a factor of 2 of 1.

    There formulas are written around the diagonal, which makes the identity exact; elsewhere as sums of
    positive terms, which lose no digit to cancellation.
    """
    slopes = torch.stack([piece.first, piece.mean, piece.last]).detach()
    return (slopes.amin(0) > 0.5) & (slopes.amax(0) < 2.0)


def _at(piece: Piece, xi: Tensor, gentle: Tensor) -> _At:
    s, rest = piece.mean, 1 - xi
    bend = (piece.first - s) + (piece.last - s)
    product = xi * rest
    apart = s * (1 - 2 * product) + (piece.first + piece.last) * product
    below = torch.where(gentle, s + bend * product, apart)
    around = s + (piece.last - s) * xi**2 + (piece.first - s) * rest**2
    apart = piece.last * xi**2 + 2 * s * xi * rest + piece.first * rest**2
    return _At(piece, xi, rest, gentle, s, bend, below, torch.where(gentle, around, apart))


def _rise(at: _At) -> Tensor:
    """Return v − y_k."""
    return at.piece.height * at.xi * (at.mean * at.xi + at.piece.first * at.rest) / at.below


def _excess(at: _At) -> Tensor:
    """Return v − u, exactly 0 where the bin is the diagonal."""
    piece = at.piece
    curve = ((piece.first - at.mean) - at.bend * at.xi) / at.below
    straight = (piece.bottom - piece.left) + (piece.height - piece.width) * at.xi
    return straight + piece.height * at.xi * at.rest * curve


def _log_slope(at: _At) -> Tensor:
    """Return log ∂v/∂u, equation 5 of the source."""
    return 2 * at.mean.log() + at.above.log() - 2 * at.below.log()


def _root(piece: Piece, rise: Tensor, gentle: Tensor) -> Tensor:
    """Return ξ with v(ξ) − y_k = rise: the root of equations 6–8 that does not cancel, then polished.

    Where g is nearly flat the discriminant cancels, and the root has only half the digits. Newton's steps
    on v itself give them back; the last two carry the derivatives of both orders, those of the implicit
    function.
    """
    with torch.no_grad():
        s = piece.mean
        bend = (piece.first - s) + (piece.last - s)
        a = rise * bend + piece.height * (s - piece.first)
        b = piece.height * piece.first - rise * bend
        discriminant = (b**2 + 4 * a * s * rise).clamp(min=torch.finfo(rise.dtype).tiny)
        xi = (2 * s * rise / (b + discriminant.sqrt())).clamp(0, 1)
        xi = _polished(xi, piece, rise, gentle)
    for _ in range(2):
        xi = _polished(xi, piece, rise, gentle)
    return xi


def _polished(xi: Tensor, piece: Piece, rise: Tensor, gentle: Tensor) -> Tensor:
    """Return ξ after a step of Newton's."""
    at = _at(piece, xi, gentle)
    slope = piece.height * at.mean * at.above / at.below**2
    return (xi - (_rise(at) - rise) / slope).clamp(0, 1)
