"""The rational-quadratic spline: a flexible law whose inverse is a formula."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least, number
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import bounded
from diffeo.laws.law import Law
from diffeo.registry import register


class _Bin(NamedTuple):
    """The bin that an element falls in: corners, sizes, the slopes at both ends, and its mean slope."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    first: Tensor
    last: Tensor

    @property
    def mean(self) -> Tensor:
        """Return s = height / width."""
        return self.height / self.width

    @property
    def gentle(self) -> Tensor:
        """Return whether all slopes are within a factor of 2 of 1.

        There formulas are written around the diagonal, which makes the identity exact; elsewhere as sums of
        positive terms, which lose no digit to cancellation.
        """
        slopes = torch.stack([self.first, self.mean, self.last])
        return (slopes.amin(0) > 0.5) & (slopes.amax(0) < 2.0)

    @property
    def bend(self) -> Tensor:
        """Return δ₀ + δ₁ − 2 s, which is 0 where the bin is straight."""
        return (self.first - self.mean) + (self.last - self.mean)


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
        at_least("bins", self.bins, 1)
        number("bound", self.bound, above=0)
        number("min_slope", self.min_slope, above=0, below=1)
        number("min_bin", self.min_bin, above=0, below=1)
        if self.min_bin * self.bins >= 1:
            raise ConfigError(
                f"min_bin={self.min_bin!r} times bins={self.bins!r} must be less than 1, the whole box; "
                "choose fewer bins or a smaller min_bin."
            )
        if self.tails not in ("matching", "linear"):
            raise ConfigError(f"tails={self.tails!r} is not known; expected 'matching' or 'linear'.")

    @property
    def n_params(self) -> int:
        """Return 3 K + 1, or 3 K − 1 with linear tails."""
        return 3 * self.bins + (1 if self.tails == "matching" else -1)

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        xs, ys, slopes = self._knots(theta)
        inside = (u >= -self.bound) & (u <= self.bound)
        near = torch.where(inside, u, 0.0)
        piece = _bin_of(near, xs, xs, ys, slopes)
        xi = ((near - piece.left) / piece.width).clamp(0, 1)
        value = torch.where(piece.gentle, near + _excess(piece, xi), piece.bottom + _rise(piece, xi))
        tail, log_tail = self._tail(u, slopes, inverse=False)
        return torch.where(inside, value, tail), torch.where(inside, _log_slope(piece, xi), log_tail)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        xs, ys, slopes = self._knots(theta)
        inside = (v >= -self.bound) & (v <= self.bound)
        near = torch.where(inside, v, 0.0)
        piece = _bin_of(near, ys, xs, ys, slopes)
        xi = _root(piece, near - piece.bottom)
        log_slope = _log_slope(piece, xi)
        value = torch.where(piece.gentle, near - _excess(piece, xi), piece.left + piece.width * xi)
        tail, log_tail = self._tail(v, slopes, inverse=True)
        return torch.where(inside, value, tail), torch.where(inside, -log_slope, log_tail)

    def slope_bounds(self) -> tuple[float, float]:
        """Return s_min² · min(δ, s) / max(δ, s)² and 4 max(δ, s), over all slopes that there can be."""
        share = 1 - (self.bins - 1) * self.min_bin  # the largest share that one bin can have
        steepest = max(share / self.min_bin, 1 / self.min_slope)
        flattest = self.min_bin / share
        return flattest**2 * min(flattest, self.min_slope) / steepest**2, 4 * steepest

    def _knots(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the knots' coordinates, (…, K + 1) each, and the slopes at them."""
        k = self.bins
        limit = -math.log(self.min_slope)
        slopes = bounded(theta[..., 2 * k :], limit).exp()
        if self.tails == "linear":
            slopes = torch.nn.functional.pad(slopes, (1, 1), value=1.0)
        return self._corners(theta[..., :k]), self._corners(theta[..., k : 2 * k]), slopes

    def _corners(self, raw: Tensor) -> Tensor:
        share = self.min_bin + (1 - self.min_bin * self.bins) * raw.softmax(-1)
        inner = (2 * share.cumsum(-1)[..., :-1] - 1) * self.bound
        edges = torch.full_like(raw[..., :1], self.bound)
        return torch.cat([-edges, inner, edges], -1)

    def _tail(self, value: Tensor, slopes: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the straight map through the nearer corner of the box, and its log-slope."""
        slope = torch.where(value > 0, slopes[..., -1], slopes[..., 0])
        corner = torch.where(value > 0, self.bound, -self.bound).to(value.dtype)
        shift, log_slope = corner * (1 - slope), slope.log()
        if inverse:
            return unscale_unshift(value, log_slope, shift), -log_slope
        return scale_shift(value, log_slope, shift), log_slope


def _bin_of(value: Tensor, edges: Tensor, xs: Tensor, ys: Tensor, slopes: Tensor) -> _Bin:
    """Return the bin whose ``edges`` (``xs`` or ``ys``) hold each value."""
    k = (value.unsqueeze(-1) >= edges[..., 1:-1]).sum(-1, keepdim=True)

    def at(knots: Tensor, index: Tensor) -> Tensor:
        return knots.gather(-1, index).squeeze(-1)

    left, bottom = at(xs, k), at(ys, k)
    return _Bin(
        left, bottom, at(xs, k + 1) - left, at(ys, k + 1) - bottom, at(slopes, k), at(slopes, k + 1)
    )


def _below(piece: _Bin, xi: Tensor) -> Tensor:
    """Return the denominator s + (δ₀ + δ₁ − 2 s) ξ (1 − ξ)."""
    product, s = xi * (1 - xi), piece.mean
    apart = s * (1 - 2 * product) + (piece.first + piece.last) * product
    return torch.where(piece.gentle, s + piece.bend * product, apart)


def _rise(piece: _Bin, xi: Tensor) -> Tensor:
    """Return v − y_k."""
    return piece.height * xi * (piece.mean * xi + piece.first * (1 - xi)) / _below(piece, xi)


def _excess(piece: _Bin, xi: Tensor) -> Tensor:
    """Return v − u, exactly 0 where the bin is the diagonal."""
    curve = ((piece.first - piece.mean) - piece.bend * xi) / _below(piece, xi)
    straight = (piece.bottom - piece.left) + (piece.height - piece.width) * xi
    return straight + piece.height * xi * (1 - xi) * curve


def _above(piece: _Bin, xi: Tensor) -> Tensor:
    """Return δ₁ ξ² + 2 s ξ (1 − ξ) + δ₀ (1 − ξ)², which is (∂v/∂u) (denominator / s)²."""
    s, rest = piece.mean, 1 - xi
    around = s + (piece.last - s) * xi**2 + (piece.first - s) * rest**2
    apart = piece.last * xi**2 + 2 * s * xi * rest + piece.first * rest**2
    return torch.where(piece.gentle, around, apart)


def _log_slope(piece: _Bin, xi: Tensor) -> Tensor:
    """Return log ∂v/∂u, equation 5 of the source."""
    return 2 * piece.mean.log() + _above(piece, xi).log() - 2 * _below(piece, xi).log()


def _root(piece: _Bin, rise: Tensor) -> Tensor:
    """Return ξ with v(ξ) − y_k = rise: the root of equations 6–8 that does not cancel, then polished.

    Where g is nearly flat the discriminant cancels, and the root has only half the digits. Newton's steps
    on v itself give them back, and carry the gradient, that of the implicit function.
    """
    s = piece.mean
    a = rise * piece.bend + piece.height * (s - piece.first)
    b = piece.height * piece.first - rise * piece.bend
    discriminant = (b**2 + 4 * a * s * rise).clamp(min=torch.finfo(rise.dtype).tiny)
    xi = (2 * s * rise / (b + discriminant.sqrt())).clamp(0, 1).detach()
    for _ in range(3):
        slope = piece.height * s * _above(piece, xi) / _below(piece, xi) ** 2
        xi = (xi - (_rise(piece, xi) - rise) / slope).clamp(0, 1)
    return xi
