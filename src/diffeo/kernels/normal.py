"""The normal distribution function in logarithms, and its inverse: exact far into both tails.

Φ(−40) is 10⁻³⁵⁰, and Φ(9) is 1 to a rounding: whatever passes through Φ and back must stay in logarithms
of the smaller tail.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROOT_HALF = math.sqrt(0.5)
#: Newton's steps of :func:`lower_quantile`; the last two of them carry derivatives.
_STEPS = 6


def log_lower(a: Tensor) -> Tensor:
    """Return log Φ(a).

    log Φ(a) = log(½ erfcx(−a / √2)) − a² / 2 below 0, log(1 − ½ erfc(a / √2)) above.

    >>> log_lower(torch.tensor([-40.0, 0.0, 6.0], dtype=torch.float64))
    tensor([-8.0461e+02, -6.9315e-01, -9.8659e-10], dtype=torch.float64)
    """
    low = torch.where(a < 0, a, 0.0)
    high = torch.where(a < 0, 0.0, a)
    below = (0.5 * torch.special.erfcx(-_ROOT_HALF * low)).log() - 0.5 * low * low
    above = torch.log1p(-0.5 * torch.special.erfc(_ROOT_HALF * high))
    return torch.where(a < 0, below, above)


def hazard(a: Tensor) -> Tensor:
    """Return φ(a) / Φ(−a), the density beside what lies beyond; about a for large a, 0 far below.

    >>> hazard(torch.tensor([-50.0, 0.0, 50.0]))
    tensor([ 0.0000,  0.7979, 50.0200])
    """
    low = torch.where(a < 0, a, 0.0)
    high = torch.where(a < 0, 0.0, a)
    # φ / Φ(−a): below 0 the denominator is near 1, above it both are tiny and their ratio is not.
    below = torch.exp(-0.5 * low * low) / (2 - torch.special.erfc(-_ROOT_HALF * low))
    above = 1 / torch.special.erfcx(_ROOT_HALF * high)
    return math.sqrt(2 / math.pi) * torch.where(a < 0, below, above)


def lower_quantile(log_mass: Tensor) -> Tensor:
    """Return v ≤ 0 with log Φ(v) = ``log_mass``, for ``log_mass`` ≤ log ½; twice differentiable.

    log Φ is concave and −√(−2 (ℓ + log 2)) lies below the root: Newton's steps climb to it, never beyond.

    >>> lower_quantile(torch.tensor([-804.608442, -1.0]))
    tensor([-40.0000,  -0.3375])
    """
    with torch.no_grad():
        given = log_mass.detach()  # forward derivatives pass through no_grad
        v = -(-2 * (given + math.log(2))).clamp(min=0).sqrt()
        for _ in range(_STEPS - 2):
            v = v - (log_lower(v) - given) / hazard(-v)
    for _ in range(2):
        v = v - (log_lower(v) - log_mass) / hazard(-v)
    return v
