"""The distribution function of a mixture of normals, through a probit: Gaussianization."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import at_least, number
from diffeo.kernels.normal import hazard, log_lower, lower_quantile
from diffeo.kernels.safe import bounded
from diffeo.laws.law import spread
from diffeo.laws.numeric import NumericLaw
from diffeo.registry import register


@register("laws.Gaussianization")
@dataclass(frozen=True)
class Gaussianization(NumericLaw):
    """v = Φ⁻¹((1/K) Σ_k Φ((u − μ_k) exp(−s_k))) on [−bound, bound], straight beyond it.

    A column whose density is the mixture of K normal kernels becomes a standard normal one. θ holds, for
    each element, K locations μ and K raw log-bandwidths (|s| < ``log_scale``); θ = 0 is the identity. No
    slope is above exp(``log_scale``), since φ ∘ Φ⁻¹ is concave. The inverse is a bracketed root.

    Its own direction is the one taken from data to noise; a flow that is to score quickly takes
    ``Inverted(Gaussianization())``.

    Source: Chen & Gopinath, *Gaussianization* (2000), section 3; Meng, Song, Song & Ermon, *Gaussianization
    flows* (2020), equations 5 and 6, here with normal kernels.

    Args:
        components: K.
        bound: half the width of the box.
        log_scale: the largest |s|.
        min_slope: the share of the identity.

    >>> law = Gaussianization(components=3)
    >>> law.forward(torch.tensor([0.5]), torch.zeros(1, law.n_params))
    (tensor([0.5000]), tensor([0.]))
    """

    components: int = 8
    bound: float = 10.0
    log_scale: float = 3.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        at_least("components", self.components, 1)
        number("bound", self.bound, above=0)
        number("log_scale", self.log_scale, above=0, most=5)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 2 K."""
        return 2 * self.components

    @property
    def start(self) -> tuple[float, ...]:
        """Return locations apart, by half a scale at most: near the identity."""
        return spread(self.components, 0.5) + (0.0,) * self.components

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probit of the mixture, and its log-slope."""
        k = self.components
        centre = bounded(theta[..., :k], self.bound)
        rate = (-bounded(theta[..., k:], self.log_scale)).exp()
        at = (u.unsqueeze(-1) - centre) * rate
        # Seen from the side where there is less: a mixture of normals and its mirror image are one formula.
        below, above = torch.logsumexp(log_lower(at), -1), torch.logsumexp(log_lower(-at), -1)
        flip = below > above
        turned = torch.where(flip.unsqueeze(-1), -at, at)
        less = log_lower(turned)
        small = torch.logsumexp(less, -1) - math.log(k)
        value = lower_quantile(small.clamp(max=math.log(0.5)))
        # m′ / φ(v) = Σ_k r_k rate_k h(−a_k) / h(−v) with the shares r of the smaller side.
        slope = (less.softmax(-1) * rate * hazard(-turned)).sum(-1) / hazard(-value)
        return torch.where(flip, -value, value), slope.clamp(min=torch.finfo(u.dtype).tiny).log()

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε and ε + (1 − ε) exp(s_max)."""
        return self.min_slope, self.min_slope + (1 - self.min_slope) * math.exp(self.log_scale)
