"""v = u · exp(s) + t and its inverse, elementwise, safe for every input.

Both directions keep row isolation (see :mod:`diffeo.kernels.safe`): beyond the safe limit the result is
u · exp(s), from which t differs by less than a rounding, and carries no gradient towards s and t.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.kernels.safe import split_safe


def scale_shift(u: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    """Return u · exp(log_scale) + shift."""
    scale = log_scale.exp()
    ok, inner = split_safe(u)
    return torch.where(ok, inner * scale + shift, u * scale.detach())


def unscale_unshift(v: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    """Return (v − shift) · exp(−log_scale)."""
    scale = (-log_scale).exp()
    ok, inner = split_safe(v)
    return torch.where(ok, (inner - shift) * scale, v * scale.detach())
