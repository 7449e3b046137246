"""Normal scores: the quantiles of the standard normal, where a float64 can hold the probability."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.kernels.normal import lower_quantile


def normal_score(share: Tensor) -> Tensor:
    """Return Φ⁻¹(share) for shares in (0, 1).

    >>> normal_score(torch.tensor([0.025, 0.975], dtype=torch.float64))
    tensor([-1.9600,  1.9600], dtype=torch.float64)
    """
    less = torch.minimum(share, 1 - share)
    size = -lower_quantile(less.log().clamp(max=math.log(0.5)))
    return torch.where(share < 0.5, -size, size)
