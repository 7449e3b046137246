"""The planar layer: a fold along one direction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.solved import Passed, Solved, Steering
from diffeo.kernels.floored import floored
from diffeo.kernels.roots import monotone_root
from diffeo.kernels.solve import SolveInfo
from diffeo.registry import register

#: wᵀu stays above minus this, so that the slope along w stays above one minus it.
FLOOR = 0.9


@register("bijections.Planar")
class Planar(Solved):
    """z = x + û tanh(wᵀx + b): everything moves along û, by how far it lies along w.

    log │det ∂z/∂x│ = log(1 + ûᵀw · tanh′(wᵀx + b)), with û = s(wᵀu) u, where the smooth factor s in (0, 1)
    keeps wᵀû above −0.9: the map is onto and has an inverse, whatever u and w are. (The paper adds a
    multiple of w / ‖w‖² to u, which is not defined at w = 0.) u starts at 0: untrained, the map is the
    identity.

    ``inverse`` (x → z, the direction of the density) is the formula; ``forward`` searches a root in one
    dimension, wᵀx, which is bracketed and so always found. The paper samples by its formula: that layer is
    ``Inverse(Planar(…))``, with the costs exchanged.

    Source: Rezende & Mohamed, *Variational inference with normalizing flows* (2015), equations 10–12 and
    appendix A.1.

    Args:
        features: D.
        context: features of the context, which then moves u, w and b.
        hidden: hidden widths of the network that reads the context.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Planar(3)
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.tolist()
    (torch.Size([4, 3]), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, features: int, context: int = 0, *, hidden: Sequence[int] = (32,)) -> None:
        super().__init__(features, context)
        self.w = nn.Parameter(nn.init.normal_(torch.empty(features), std=features**-0.5))
        self.u = nn.Parameter(torch.zeros(features))
        self.b = nn.Parameter(torch.zeros(1))
        self.steering = Steering(context, [features, features, 1], hidden)

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        w, u, b, along = self._steered(x, context)
        height, log_slope = _fold((x * w).sum(-1, keepdim=True) + b, along)
        return x + u * height, log_slope.squeeze(-1), None

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x, with wᵀx from wᵀz = wᵀx + wᵀû tanh(wᵀx + b)."""
        w, u, b, along = self._steered(z, context)
        target = (z * w).sum(-1, keepdim=True)

        def curve(at: Tensor) -> tuple[Tensor, Tensor]:
            height, log_slope = _fold(at + b, along)
            return at + along * height, log_slope

        root = monotone_root(curve, target, target - along.abs(), target + along.abs())
        height, log_slope = _fold(root.value + b, along)
        # Of a steep fold the height is known better from the equation than from tanh.
        steep = along.abs() >= 1
        height = torch.where(steep, (target - root.value) / torch.where(steep, along, 1.0), height)
        told = (t.squeeze(-1) for t in (root.converged, root.residual, root.iterations))
        return z - u * height, -log_slope.squeeze(-1), SolveInfo(*told)

    def _steered(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return w, û, b and wᵀû."""
        by_w, by_u, by_b = self.steering(x, context)
        w, u, b = self.w + by_w, self.u + by_u, self.b + by_b
        along = (w * u).sum(-1, keepdim=True)
        factor = floored(along, FLOOR)
        return w, u * factor, b, along * factor


def _fold(at: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """Return tanh, and the log-slope that it gives the map along w."""
    height = torch.tanh(at)
    return height, torch.log1p(along * (1 - height * height))
