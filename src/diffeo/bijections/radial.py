"""The radial layer: a swelling, or a hollow, around one point."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.solved import Passed, Solved, Steering
from diffeo.kernels.floored import floored
from diffeo.kernels.safe import bounded
from diffeo.registry import register

#: β / α stays above minus this, so that no slope is below one minus it.
FLOOR = 0.9

#: log α stays within ± this.
LOG_RADIUS = 5.0


@register("bijections.Radial")
class Radial(Solved):
    """z = x + β h (x − x₀), h = 1 / (α + r), r = ‖x − x₀‖₂: everything moves away from x₀, or towards it.

    log │det ∂z/∂x│ = (D − 1) log(1 + β h) + log(1 + β α h²). Here α = exp(5 tanh(a / 5)) and β = α s(c) c,
    where the smooth factor s in (0, 1) keeps β above −0.9 α, so that the map is onto and has an inverse. β
    starts at 0 and x₀ at a draw of N(0, 1): untrained, the map is the identity, around a centre of its own.

    Both directions are formulas: ρ = ‖z − x₀‖ = r + β r / (α + r) is a quadratic equation for r.

    Source: Rezende & Mohamed, *Variational inference with normalizing flows* (2015), equation 14 and
    appendix A.2, with the direction of the density (x → z) in the place of the paper's z → x.

    Args:
        features: D.
        context: features of the context, which then moves x₀, a and c.
        hidden: hidden widths of the network that reads the context.

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in (features,).

    >>> layer = Radial(3)
    >>> x, log_det = layer(torch.ones(4, 3))
    >>> x.shape, log_det.tolist()
    (torch.Size([4, 3]), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, features: int, context: int = 0, *, hidden: Sequence[int] = (32,)) -> None:
        super().__init__(features, context)
        # Layers that start alike get the same gradients and stay alike: each has a place of its own, among
        # standardised rows.
        self.centre = nn.Parameter(nn.init.normal_(torch.empty(features)))
        self.raw_log_alpha = nn.Parameter(torch.zeros(1))
        self.raw_beta = nn.Parameter(torch.zeros(1))
        self.steering = Steering(context, [features, 1, 1], hidden)

    def to_noise(self, x: Tensor, context: Tensor | None) -> Passed:
        """Return z and log │det ∂z/∂x│ of rows."""
        centre, alpha, beta = self._steered(x, context)
        away = x - centre
        stretch, log_det = self._stretch(_length(away), alpha, beta)
        return x + stretch * away, log_det, None

    def to_data(self, z: Tensor, context: Tensor | None) -> Passed:
        """Return x, with r the root of r² + (α + β − ρ) r − α ρ = 0."""
        centre, alpha, beta = self._steered(z, context)
        away = z - centre
        length = _length(away)
        half = length - (alpha + beta)
        product = alpha * length
        root = (half * half + 4 * product).sqrt()
        # Of the two forms of the root, the one that subtracts nothing; α + β > 0, so that no root is 0.
        radius = torch.where(half >= 0, (half + root) / 2, 2 * product / (root + half.abs()))
        stretch, log_det = self._stretch(radius, alpha, beta)
        return z - stretch / (1 + stretch) * away, -log_det, None

    def _stretch(self, radius: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Return β h and log │det ∂z/∂x│ at a distance from the centre."""
        h = 1 / (alpha + radius)
        around, along = torch.log1p(beta * h), torch.log1p(beta * h * (alpha * h))
        return beta * h, ((self.features - 1) * around + along).squeeze(-1)

    def _steered(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return x₀, α and β."""
        by_centre, by_alpha, by_beta = self.steering(x, context)
        alpha = bounded(self.raw_log_alpha + by_alpha, LOG_RADIUS).exp()
        raw = self.raw_beta + by_beta
        return self.centre + by_centre, alpha, alpha * raw * floored(raw, FLOOR)


def _length(away: Tensor) -> Tensor:
    """Return ‖away‖₂ of rows, (rows, 1), with the derivative 0 where it is 0."""
    squared = (away * away).sum(-1, keepdim=True)
    some = squared >= torch.finfo(away.dtype).tiny
    return torch.where(some, torch.where(some, squared, 1.0).sqrt(), 0.0)
