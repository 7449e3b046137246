"""Laws whose inverse is found, not written: increasing on a box, straight beyond it."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.kernels.affine import unscale_unshift
from diffeo.kernels.roots import monotone_root
from diffeo.kernels.safe import split_safe
from diffeo.kernels.snap import snap
from diffeo.laws.law import Law

#: Evaluations of a search: halving a bracket of 60 alone takes 59 to a rounding of float64, and Newton's
#: steps in between at most as many again.
_MOST = 200


class Inversion(NamedTuple):
    """An inverse and how well it was found, per element.

    Attributes:
        value: u = g⁻¹(v).
        log_slope: log ∂u/∂v.
        converged: whether u is exact to a rounding.
        residual: |g(u) − v|.
        iterations: evaluations of g that the search took; 0 in the straight tails.
    """

    value: Tensor
    log_slope: Tensor
    converged: Tensor
    residual: Tensor
    iterations: Tensor


class NumericLaw(Law):
    """A law with a formula for v = g(u; θ) on [−bound, bound] and none for its inverse.

    Subclasses say :meth:`curve`; everything else follows, for all of them in one way:

    * a share ``min_slope`` of the identity is mixed in, v = ε u + (1 − ε) curve(u), so that no slope is
      below ε (0 gives the formula as it was published);
    * beyond the box g goes on in a straight line, with the slope that it has at the edge: every law is a
      map of all of ℝ onto ℝ;
    * the inverse is bracketed by the box (:func:`diffeo.kernels.roots.monotone_root`), differentiable, and
      reports its residual (:meth:`inverse_with_info`).

    Attributes:
        bound: half the width of the box; ``forward`` is the formula inside it.
        min_slope: ε.
    """

    bound: float
    min_slope: float

    @abstractmethod
    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the curve at u in [−bound, bound], and its log-slope."""

    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and log ∂v/∂u."""
        ok, safe = split_safe(u)
        near = safe.clamp(-self.bound, self.bound)
        value, log_slope = self._mixed(near, theta)
        # (u − near) is 0 inside; there the gradient is the curve's.
        value = value + torch.where(near == safe, 0.0, log_slope.exp() * (safe - near))
        value, log_slope = snap(safe, theta, value, log_slope)
        far = u.detach() * log_slope.detach().exp()
        return torch.where(ok, value, far), log_slope

    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and log ∂u/∂v; NaN where the search did not arrive."""
        found = self.inverse_with_info(v, theta)
        lost = torch.where(found.converged, 0.0, torch.nan).to(v.dtype)
        return found.value + lost, found.log_slope + lost

    def inverse_with_info(self, v: Tensor, theta: Tensor) -> Inversion:
        """Return u and log ∂u/∂v, with what the search for it reached."""
        low, low_slope = self._mixed(torch.full_like(v, -self.bound), theta)
        high, high_slope = self._mixed(torch.full_like(v, self.bound), theta)
        inside = (v > low) & (v < high)
        root = monotone_root(
            lambda u: self._mixed(u, theta),
            torch.where(inside, v, (low + high) / 2),
            -self.bound,
            self.bound,
            max_iter=_MOST,
        )
        above = v >= high
        slope = torch.where(above, high_slope, low_slope)
        edge = torch.where(above, self.bound, -self.bound).to(v.dtype)
        # u = edge + (v − g(edge)) / slope
        shift = torch.where(above, high, low) - edge * slope.exp()
        tail = unscale_unshift(v, slope, shift)
        value, log_slope = snap(
            split_safe(v)[1],
            theta,
            torch.where(inside, root.value, tail),
            -torch.where(inside, root.log_slope, slope),
        )
        value = torch.where(split_safe(v)[0], value, tail)
        return Inversion(
            value,
            log_slope,
            root.converged | ~inside,
            torch.where(inside, root.residual, 0.0),
            torch.where(inside, root.iterations, 0.0),
        )

    def _mixed(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        value, log_slope = self.curve(u, theta)
        share = self.min_slope
        if share == 0:
            return value, log_slope
        # torch.logaddexp rounds differently at the tail of a vector.
        return share * u + (1 - share) * value, (share + (1 - share) * log_slope.exp()).log()
