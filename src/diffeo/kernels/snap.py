"""θ = 0 is the identity to the last bit, also for a formula that reaches it only up to a rounding."""

from __future__ import annotations

import torch
from torch import Tensor


def snap(u: Tensor, theta: Tensor, value: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``value`` and ``log_slope``, or u and 0 where all of ``theta`` is 0; gradients stay theirs.

    For a law whose formula is the identity at θ = 0 in real numbers and misses it by a rounding in
    floating ones: logit(σ(u)), say.

    Shapes: ``u``, ``value``, ``log_slope`` any shape, ``theta`` ``u.shape + (n_params,)``.

    >>> u, theta = torch.tensor([0.3]), torch.zeros(1, 2)
    >>> snap(u, theta, u + 1e-7, torch.tensor([1e-7]))
    (tensor([0.3000]), tensor([0.]))
    """
    at_zero = (theta == 0).all(-1)
    # y + (v − v) is y in value and v in all derivatives.
    exact = u.detach() + (value - value.detach())
    exact = torch.where(u.isfinite(), exact, u)  # ∞ − ∞ is NaN
    flat = log_slope - log_slope.detach()
    return torch.where(at_zero, exact, value), torch.where(at_zero, flat, log_slope)
