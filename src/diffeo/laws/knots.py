"""What splines share: corners of bins, the bin that a value falls in, and what is beyond the box."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least, number, one_of
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.circle import carried, kept_within, point_of


class Knots(NamedTuple):
    """The knots of a spline, (…, K + 1) each: coordinates before and after the map, and slopes there.

    A spline whose slope jumps at its knots has the slopes to their right, and the last one's to its left.
    """

    xs: Tensor
    ys: Tensor
    slopes: Tensor


class Piece(NamedTuple):
    """The bin that an element falls in: its lower corner, its sizes, and the slopes at both ends."""

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

    def share(self, u: Tensor) -> Tensor:
        """Return ξ = (u − left) / width, within [0, 1]."""
        return ((u - self.left) / self.width).clamp(0, 1)

    def rise(self, v: Tensor) -> Tensor:
        """Return v − bottom: within [0, height], since rounding keeps the order of differences."""
        return v - self.bottom


#: (value, piece) ↦ the spline's value and the log-slope of the direction taken.
Formula = Callable[[Tensor, Piece], tuple[Tensor, Tensor]]


def check_box(
    bins: int,
    bound: float,
    tails: str,
    min_bin: float,
    *,
    known: tuple[str, ...] = ("matching", "linear"),
) -> None:
    """Raise :class:`ConfigError` unless there are bins that fit in a box, and tails that are known."""
    at_least("bins", bins, 1)
    number("bound", bound, above=0)
    number("min_bin", min_bin, above=0, below=1)
    if min_bin * bins >= 1:
        raise ConfigError(
            f"min_bin={min_bin!r} times bins={bins!r} must be less than 1, the whole box; "
            "choose fewer bins or a smaller min_bin."
        )
    one_of("tails", tails, known)


def shares(raw: Tensor, least: float) -> Tensor:
    """Return the softmax of K raw sizes, mixed so that each is at least ``least`` of the whole."""
    return least + (1 - least * raw.shape[-1]) * raw.softmax(-1)


def corners(share: Tensor, bound: float) -> Tensor:
    """Return K + 1 increasing coordinates from −bound to bound, for K shares of the whole.

    >>> corners(torch.tensor([0.25, 0.25, 0.5]), 2.0)
    tensor([-2., -1.,  0.,  2.])
    """
    inner = (2 * share.cumsum(-1)[..., :-1] - 1) * bound
    edges = torch.full_like(share[..., :1], bound)
    return torch.cat([-edges, inner, edges], -1)


def box_corners(raw: Tensor, bound: float, least: float) -> tuple[Tensor, Tensor]:
    """Return the knots' coordinates before and after the map, for K raw widths and K raw heights."""
    widths, heights = raw.chunk(2, -1)
    return corners(shares(widths, least), bound), corners(shares(heights, least), bound)


def largest_share(bins: int, least: float) -> float:
    """Return the largest share of the box that one bin can have."""
    return 1 - (bins - 1) * least


def through(
    value: Tensor, knots: Knots, bound: float, tails: str, formula: Formula, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Return ``formula`` in the bin of each value, and the tails beyond ±bound.

    The tails go on with the slope at the edge of the box if they are "matching", and are the identity if
    they are "linear"; if they are "circular", the box is one turn of many, all alike.
    """
    inside = (value >= -bound) & (value <= bound)
    near = point_of(value, bound) if tails == "circular" else torch.where(inside, value, 0.0)
    bent, log_slope = formula(near, _piece_of(near, knots.ys if inverse else knots.xs, knots))
    if tails == "circular":
        return carried(value, near, kept_within(bent, bound), bound), log_slope
    tail, log_tail = value, torch.zeros_like(value)
    if tails == "matching":
        tail, log_tail = _straight(value, knots.slopes, bound, inverse)
    return torch.where(inside, bent, tail), torch.where(inside, log_slope, log_tail)


def _piece_of(value: Tensor, edges: Tensor, knots: Knots) -> Piece:
    """Return the bin whose ``edges`` (the knots' xs or ys) hold each value."""
    k = (value.unsqueeze(-1) >= edges[..., 1:-1]).sum(-1, keepdim=True)

    def at(of: Tensor, index: Tensor) -> Tensor:
        return of.gather(-1, index).squeeze(-1)

    left, bottom = at(knots.xs, k), at(knots.ys, k)
    width, height = at(knots.xs, k + 1) - left, at(knots.ys, k + 1) - bottom
    return Piece(left, bottom, width, height, at(knots.slopes, k), at(knots.slopes, k + 1))


def _straight(value: Tensor, slopes: Tensor, bound: float, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return the straight map through the nearer corner of the box, and its log-slope."""
    slope = torch.where(value > 0, slopes[..., -1], slopes[..., 0])
    corner = torch.where(value > 0, bound, -bound).to(value.dtype)
    shift, log_slope = corner * (1 - slope), slope.log()
    if inverse:
        return unscale_unshift(value, log_slope, shift), -log_slope
    return scale_shift(value, log_slope, shift), log_slope
