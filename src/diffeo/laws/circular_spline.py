"""The circular rational-quadratic spline: a flexible map of the circle onto itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.laws.knots import Knots, box_corners, check_box, through
from diffeo.laws.law import Law
from diffeo.laws.rational_quadratic import bent, knot_slopes, slopes_between, unbent
from diffeo.registry import register


@register("laws.CircularSpline")
@dataclass(frozen=True)
class CircularSpline(Law):
    """A :class:`~diffeo.laws.RationalQuadratic` spline of the circle: −bound and bound are one point.

    The slope is the same at both, so that v goes round the circle once as u does, with a continuous slope.
    The point ±bound stays where it is; a :class:`~diffeo.bijections.CircularShift` moves it too. θ holds,
    for each element, K raw widths, K raw heights and K raw slopes; θ = 0 is the identity.

    A value n turns away from [−bound, bound] is moved as the angle that it stands for and stays n turns
    away: the law is an increasing bijection of ℝ, g(u + 2 bound) = g(u) + 2 bound. What lies outside the
    circle stays outside, where the bases of circles (:class:`~diffeo.distributions.VonMises`,
    ``Uniform(features, low=-math.pi, high=math.pi)``) have density zero;
    :class:`~diffeo.bijections.Wrap` brings raw angles inside.

    Source: Rezende, Papamakarios, Racanière, Albergo, Kanwar, Shanahan & Cranmer, *Normalizing flows on
    tori and spheres* (2020), section 2.1.3.

    Args:
        bins: K.
        bound: half the length of the circle: π for angles in radians.
        min_bin: the smallest width and height, as a share of the circle.
        min_slope: the smallest slope at a knot.

    >>> law = CircularSpline(bins=2)
    >>> v, log_slope = law.forward(torch.tensor([-math.pi, 0.0, math.pi]), torch.ones(3, law.n_params))
    >>> v
    tensor([-3.1416,  0.0000,  3.1416])
    >>> bool(log_slope[0] == log_slope[2])
    True
    """

    bins: int = 8
    bound: float = math.pi
    min_bin: float = 1e-3
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        check_box(self.bins, self.bound, "circular", self.min_bin, known=("circular",))
        number("min_slope", self.min_slope, above=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 3 K."""
        return 3 * self.bins

    @property
    def period(self) -> float:
        """Return the length of the circle."""
        return 2 * self.bound

    def knots(self, theta: Tensor) -> Knots:
        """Return the knots that θ stands for, the last of them the first once more."""
        k = self.bins
        xs, ys = box_corners(theta[..., : 2 * k], self.bound, self.min_bin)
        slopes = knot_slopes(theta[..., 2 * k :], self.min_slope)
        return Knots(xs, ys, torch.cat([slopes, slopes[..., :1]], -1))

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        return through(u, self.knots(theta), self.bound, "circular", bent)

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v."""
        return through(v, self.knots(theta), self.bound, "circular", unbent, inverse=True)

    def slope_bounds(self) -> tuple[float, float]:
        """Return those of :class:`~diffeo.laws.RationalQuadratic`."""
        return slopes_between(self.bins, self.min_bin, self.min_slope)
