"""Mixtures of normals on the line: their density at a point, and their mass in a cell, in logarithms.

    log f(u) = log Σₖ wₖ N(u; μₖ, σₖ²),        log F[a, b] = log Σₖ wₖ (Φ((b − μₖ) / σₖ) − Φ((a − μₖ) / σₖ))

A whole number has the mass of its cell. The difference of two distribution functions is 0 to a rounding
where the cell is narrow or far out in a tail, so each of three cases has a form of its own (a and b
standardised, m their middle, w = b − a, and the line turned over where m > 0):

- narrow: φ(m) w (1 + w² (m² − 1) / 24 + w⁴ (m⁴ − 6 m² + 3) / 1920 + …), Taylor's series about the middle;
- across 0: (erf(b / √2) + erf(−a / √2)) / 2, a sum of two positive numbers;
- in the tail: φ(b) (R(b) − exp(w m) R(a)), R = Φ / φ Mills' ratio, which no tail is too far for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.kernels.safe import bounded

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_ROOT_HALF = math.sqrt(0.5)
_LOG_ROOT_HALF_PI = 0.5 * math.log(math.pi / 2)

#: Where the line ends: a cell that reaches to infinity is said to end here. No mixture has mass beyond,
#: in float64 (|μ| < 8, σ < e: it is 10⁵ standard deviations away).
EDGE = 1e6

#: Numbers beyond have density 0.
FAR = 1e8

#: Means within ±8; log σ within (−7, 1), its middle and its reach.
_MEAN = 8.0
_LOG_SCALE = (-3.0, 4.0)


def log_cell(below: Tensor, above: Tensor, width: Tensor) -> Tensor:
    """Return log(Φ(above) − Φ(below)), elementwise; −∞ for a cell without width.

    Args:
        below: the lower end of the cell, finite.
        above: its upper end.
        width: their difference, in its own digits: that of the two numbers may have lost them.

    >>> a = torch.tensor([-1e6, -0.5, 7.0, 3.0], dtype=torch.float64)
    >>> b = torch.tensor([0.0, 0.5, 8.0, 3.0 + 1e-9], dtype=torch.float64)
    >>> log_cell(a, b, b - a)
    tensor([ -0.6931,  -0.9599, -27.3848, -26.1422], dtype=torch.float64)
    """
    # The next terms of the series are below a rounding: (w m)⁶ / 322560, and w⁶ / 21504.
    narrowest, thinnest = (1e-2, 2e-2) if below.dtype == torch.float64 else (0.1, 0.3)
    wide = (width > 0) & (above >= below)
    below, above = torch.where(wide, below, -1.0), torch.where(wide, above, 1.0)
    width = torch.where(wide, width, 2.0)
    # Ends that have rounded to one number, though the width is known.
    hairline = above <= below
    width = torch.where(hairline, width.clamp(max=narrowest), width)
    middle = 0.5 * below + 0.5 * above
    narrow = hairline | ((width < narrowest) & (middle.abs() * width < thinnest))
    turned = middle > 0
    low = torch.where(turned, -above, below)
    high = torch.where(turned, -below, above)
    tail = ~narrow & (high < 0)
    across = ~narrow & ~tail
    value = torch.where(narrow, _narrow(narrow, middle, width, narrowest), 0.0)
    value = torch.where(across, _across(across, low, high), value)
    value = torch.where(tail, _tail(tail, low, high, -middle.abs() * width), value)
    return torch.where(wide, value, -torch.inf)


def _narrow(here: Tensor, middle: Tensor, width: Tensor, narrowest: float) -> Tensor:
    m, w = torch.where(here, middle, 0.0), torch.where(here, width, narrowest)
    m2, w2 = m.square(), w.square()
    # Factored so that m⁴ w⁴ is the square of m² w², which is small.
    series = (w2 * m2 - w2) / 24 + ((w2 * m2).square() - 6 * w2 * (w2 * m2) + 3 * w2.square()) / 1920
    return w.log() - 0.5 * m2 - _HALF_LOG_2PI + torch.log1p(series)


def _across(here: Tensor, low: Tensor, high: Tensor) -> Tensor:
    a, b = torch.where(here, low, -1.0), torch.where(here, high, 1.0)
    return (0.5 * torch.erf(_ROOT_HALF * b) + 0.5 * torch.erf(-_ROOT_HALF * a)).log()


def _tail(here: Tensor, low: Tensor, high: Tensor, exponent: Tensor) -> Tensor:
    a, b = torch.where(here, low, -2.0), torch.where(here, high, -1.0)
    e = torch.where(here, exponent, -1.5)
    far, near = torch.special.erfcx(-_ROOT_HALF * a), torch.special.erfcx(-_ROOT_HALF * b)
    return -0.5 * b.square() - _HALF_LOG_2PI + _LOG_ROOT_HALF_PI + (near - e.exp() * far).log()


class Normals:
    """The mixture Σₖ wₖ N(μₖ, σₖ²) of each element, from raw parameters that are 0 at N(0, 1).

    At θ = 0 the components are the nodes of a Gauss–Hermite rule for N(0, 1 − s²), each of variance s²:
    their mixture is the standard normal but for 10⁻⁶ nats (8 components; 10⁻⁴ for 3), and they are apart,
    so that they can part.

    Args:
        theta: ``batch + (K, 3)``: raw log-weights, means and log-scales.
        start: ``(3, K)``, from :func:`start`.
    """

    def __init__(self, theta: Tensor, start: Tensor) -> None:
        self.log_weight = (theta[..., 0] + start[0]).log_softmax(-1)
        self.mean = bounded(theta[..., 1] + start[1], _MEAN)
        middle, reach = _LOG_SCALE
        self.log_scale = middle + bounded(theta[..., 2] + start[2], reach)

    def log_density(self, u: Tensor) -> Tensor:
        """Return log f(u), of the batch shape, for finite ``u`` within ±:data:`FAR`."""
        z = (u.unsqueeze(-1) - self.mean) * (-self.log_scale).exp()
        return torch.logsumexp(self.log_weight - self.log_scale - 0.5 * z.square() - _HALF_LOG_2PI, -1)

    def log_mass(self, below: Tensor, above: Tensor, width: Tensor) -> Tensor:
        """Return log F[below, above], for ends within ±:data:`EDGE` and a width above 0."""
        scale = (-self.log_scale).exp()
        a, b = ((end.unsqueeze(-1) - self.mean) * scale for end in (below, above))
        return torch.logsumexp(self.log_weight + log_cell(a, b, width.unsqueeze(-1) * scale), -1)

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """Return one draw of each element: a component by its weight, then of its normal."""
        ends = self.log_weight.exp().cumsum(-1)
        shape, dtype, device = ends.shape[:-1], ends.dtype, ends.device
        level = torch.rand((*shape, 1), generator=generator, dtype=dtype, device=device)
        chosen = (level * ends[..., -1:] > ends).sum(-1, keepdim=True).clamp(max=ends.shape[-1] - 1)
        mean, log_scale = (part.gather(-1, chosen).squeeze(-1) for part in (self.mean, self.log_scale))
        return mean + log_scale.exp() * torch.randn(shape, generator=generator, dtype=dtype, device=device)


def start(components: int) -> list[list[float]]:
    """Return raw log-weights, means and log-scales of a mixture that is near the standard normal.

    >>> Normals(torch.zeros(1, 1, 3), torch.tensor(start(1))).log_density(torch.zeros(1))
    tensor([-0.9189])
    """
    import numpy as np

    if components == 1:
        nodes, weights, variance = np.zeros(1), np.ones(1), 1.0
    else:
        # The fewer the nodes, the nearer to 1 their variance has to be.
        variance = max(0.4, 1 - 0.12 * components)
        nodes, weights = np.polynomial.hermite_e.hermegauss(components)
        nodes = nodes * math.sqrt(1 - variance)
    middle, reach = _LOG_SCALE
    scale = reach * math.atanh((0.5 * math.log(variance) - middle) / reach)
    means = _MEAN * np.arctanh(nodes / _MEAN)
    return [np.log(weights / weights.sum()).tolist(), means.tolist(), [scale] * components]
