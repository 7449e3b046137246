"""The distribution function of a mixture of logistics, through a logit: Flow++'s law, and NAF's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import at_least, number
from diffeo.kernels.safe import bounded
from diffeo.laws.law import spread
from diffeo.laws.numeric import NumericLaw
from diffeo.registry import register


@register("laws.LogisticMixture")
@dataclass(frozen=True)
class LogisticMixture(NumericLaw):
    """v = logit(Σ_k π_k σ((u − μ_k) exp(−s_k))) · exp(a) + b, on [−bound, bound], straight beyond it.

    θ holds, for each element, K raw weights (through a softmax), K locations μ, K raw log-scales
    (|s| < ``log_scale``), the raw log-scale a and the shift b. θ = 0 is the identity. It is the published
    law with ``min_slope=0``; the share ``min_slope`` of the identity mixed in keeps it invertible in
    floating point where the mixture leaves a gap. The inverse is a bracketed root.

    Its own direction is the one that Flow++ takes from data to noise: a flow that is to score quickly
    takes ``Inverted(LogisticMixture())``.

    Source: Ho, Chen, Srinivas, Duan & Abbeel, *Flow++* (2019), section 3.2.

    Args:
        components: K.
        bound: half the width of the box.
        log_scale: the largest |s|.
        min_slope: the share of the identity.

    >>> law = LogisticMixture(components=3)
    >>> law.forward(torch.tensor([0.5]), torch.zeros(1, law.n_params))
    (tensor([0.5000]), tensor([0.]))
    """

    components: int = 32
    bound: float = 30.0
    log_scale: float = 3.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        at_least("components", self.components, 1)
        number("bound", self.bound, above=0)
        number("log_scale", self.log_scale, above=0, most=10)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 3 K + 2."""
        return 3 * self.components + 2

    @property
    def start(self) -> tuple[float, ...]:
        """Return locations apart, by half a scale at most: near the identity."""
        k = self.components
        return (0.0,) * k + spread(k, _APART) + (0.0,) * (k + 2)

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the affine logit of the mixture, and its log-slope."""
        k = self.components
        value, log_slope = logit_of_mixture(
            u,
            theta[..., :k].log_softmax(-1),
            bounded(theta[..., k : 2 * k], self.bound),
            bounded(theta[..., 2 * k : 3 * k], self.log_scale),
        )
        log_scale = bounded(theta[..., 3 * k], _AFFINE)
        return value * log_scale.exp() + theta[..., 3 * k + 1], log_slope + log_scale

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε and ε + (1 − ε) exp(s_max + a_max)."""
        steepest = math.exp(self.log_scale + _AFFINE)
        return self.min_slope, self.min_slope + (1 - self.min_slope) * steepest


#: How far from 0 components begin.
_APART = 0.5

#: The largest |a|, as the bound of :class:`diffeo.laws.Affine`.
_AFFINE = 2.0


@register("laws.SigmoidalFlow")
@dataclass(frozen=True)
class SigmoidalFlow(NumericLaw):
    """v = logit(Σ_k w_k σ(a_k u + b_k)): the deep sigmoidal flow of NAF, one layer.

    θ holds, for each element, K raw weights (through a softmax), K raw slopes (|log a| < ``log_slope``,
    where the authors take a softplus) and K offsets b, bounded by ``bound`` times the slope: a sigmoid
    centred outside the box would be flat in it. θ = 0 is the identity. Several stand one after another in
    several layers. With ``min_slope=0`` it is the published law.

    Source: Huang, Krueger, Lacoste & Courville, *Neural autoregressive flows* (2018), equation 8.

    Args:
        units: K.
        bound: half the width of the box.
        log_slope: the largest |log a|.
        min_slope: the share of the identity.

    >>> law = SigmoidalFlow(units=2)
    >>> v, log_slope = law.forward(torch.tensor([0.5]), torch.ones(1, law.n_params))
    >>> law.inverse(v, torch.ones(1, law.n_params))[0]
    tensor([0.5000])
    """

    units: int = 16
    bound: float = 30.0
    log_slope: float = 3.0
    min_slope: float = 1e-3

    def __post_init__(self) -> None:
        at_least("units", self.units, 1)
        number("bound", self.bound, above=0)
        number("log_slope", self.log_slope, above=0, most=10)
        number("min_slope", self.min_slope, least=0, below=1)

    @property
    def n_params(self) -> int:
        """Return 3 K."""
        return 3 * self.units

    @property
    def start(self) -> tuple[float, ...]:
        """Return centres apart, by half a scale at most: near the identity."""
        return (0.0,) * (2 * self.units) + spread(self.units, _APART)

    def curve(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logit of the weighted sigmoids, and its log-slope."""
        k = self.units
        log_slope = bounded(theta[..., k : 2 * k], self.log_slope)
        # σ(a u + b) = σ((u − μ) a) with μ = −b / a.
        centre = -bounded(theta[..., 2 * k :] * (-log_slope).exp(), self.bound)
        return logit_of_mixture(u, theta[..., :k].log_softmax(-1), centre, -log_slope)

    def slope_bounds(self) -> tuple[float, float]:
        """Return ε and ε + (1 − ε) a_max."""
        return self.min_slope, self.min_slope + (1 - self.min_slope) * math.exp(self.log_slope)


def logit_of_mixture(
    u: Tensor, log_weight: Tensor, centre: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logit m, m = Σ_k π_k σ((u − μ_k) exp(−s_k)), and log ∂(logit m)/∂u.

    The distribution functions stay logarithms, so that neither end rounds to 0 or 1. The slope is
    m′ / m (1 − m) = m′ / m + m′ / (1 − m) = Σ_k exp(−s_k) (r_k (1 − σ_k) + q_k σ_k), where r_k and q_k are
    the shares of component k below and above u: a mean of the components' slopes, which rounding cannot
    take beyond them.
    """
    at = (u.unsqueeze(-1) - centre) * (-log_scale).exp()
    size = torch.where(at > 0, at, -at)
    small = torch.exp(-size)
    # log σ(±a) = min(±a, 0) − log(1 + e^{−|a|})
    spread = torch.log1p(small)
    below = log_weight - torch.where(at > 0, 0.0, size) - spread
    above = log_weight - torch.where(at > 0, size, 0.0) - spread
    near, far = 1 / (1 + small), small / (1 + small)
    rising, falling = torch.where(at > 0, near, far), torch.where(at > 0, far, near)
    shares = below.softmax(-1) * falling + above.softmax(-1) * rising
    slope = ((-log_scale).exp() * shares).sum(-1)
    value = torch.logsumexp(below, -1) - torch.logsumexp(above, -1)
    return value, slope.clamp(min=torch.finfo(u.dtype).tiny).log()
