"""How a pass remembers, in two bytes a row, what a recovered input has to be.

An inner product of log(1 + │h│), which measures errors relative to 1 + │h│, with fixed weights, counted in
units of the error that is allowed and cut to sixteen bits: an error of up to 65534 units is seen, a larger
one but for three chances in 65536. One that lies across the weights is not, at this layer; the next layers
turn it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def allowed(dtype: torch.dtype) -> float:
    """Return the error that a recovered element h may have, relative to 1 + │h│: ε^0.85.

    Some ten roundings in float32, which a run of trained layers keeps to. A row that does not is magnified
    so much that its gradient has few digits in any memory.

    >>> allowed(torch.float32), allowed(torch.float64)
    (1.3...e-06, 4.9...e-14)
    """
    return torch.finfo(dtype).eps ** 0.85


def code(value: Tensor, event_ndim: int, weights: Tensor) -> Tensor:
    """Return two bytes for each row, which change by more than 1 where the row changes more than allowed.

    ⌊Σ_j w_j sign(h_j) log(1 + │h_j│)⌉ modulo 2¹⁶, with the weights of :func:`code_weights`; NaN and the
    infinities count as numbers.

    >>> h = torch.tensor([[1.0, 2.0], [1.0, 2.0000002], [1.0, 2.001]])
    >>> first, near, far = code(h, 1, code_weights(h, 1)).tolist()
    >>> abs(near - first) <= 1, abs(far - first) <= 1
    (True, False)
    """
    flat = value.detach().flatten(-event_ndim)
    near = torch.nan_to_num(flat.abs().log1p().copysign(flat), nan=1e3, posinf=2e3, neginf=-2e3)
    return (near * weights).sum(-1).round().to(torch.int64).to(torch.int16)


def differ(found: Tensor, known: Tensor) -> Tensor:
    """Return which rows have another code than they had, but for a rounding."""
    off = found - known  # sixteen bits, which wrap around
    return (off > 1) | (off < -1)


def code_weights(value: Tensor, event_ndim: int) -> Tensor:
    """Return w / (√D ε^0.85), w of sizes between ½ and 1½ and changing signs: no symmetry cancels them.

    Shapes: (D,), D the elements of an event of ``value``.
    """
    size = value.shape[value.ndim - event_ndim :].numel()
    waves = torch.sin(1.0 + 2.3 * torch.arange(size, dtype=value.dtype, device=value.device))
    return (waves + waves.sign() / 2) / (math.sqrt(size) * allowed(value.dtype))
