"""Ways between latents: along a great circle, where draws of a normal base lie near a sphere."""

from __future__ import annotations

import torch
from torch import Tensor


def along(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return the point at t of the great circle from a to b, row by row; the norm goes linearly.

    Source: Shoemake, *Animating rotation with quaternion curves* (1985), section 3.3.

    >>> a, b = torch.tensor([[[[2.0, 0.0]]]]), torch.tensor([[[[0.0, 4.0]]]])
    >>> along(a, b, 0.5)  # of norm 3
    tensor([[[[2.1213, 2.1213]]]])
    """
    if t in (0.0, 1.0):
        return b if t else a
    first, last = a.flatten(1), b.flatten(1)
    sizes = first.norm(dim=1, keepdim=True), last.norm(dim=1, keepdim=True)
    units = [v / size.clamp(min=1e-12) for v, size in zip((first, last), sizes, strict=True)]
    angle = (units[0] * units[1]).sum(1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    flat = sine < 1e-4  # along a line, where the circle is one
    safe = torch.where(flat, 1.0, sine)
    weights = (
        torch.where(flat, 1 - t, ((1 - t) * angle).sin() / safe),
        torch.where(flat, t, (t * angle).sin() / safe),
    )
    size = (1 - t) * sizes[0] + t * sizes[1]
    return ((weights[0] * units[0] + weights[1] * units[1]) * size).reshape(a.shape)
