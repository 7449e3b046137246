"""A product kept above a floor, smoothly, without dividing by either of its factors."""

from __future__ import annotations

from torch import Tensor


def floored(product: Tensor, floor: float) -> Tensor:
    """Return the factor s in (0, 1) that keeps s · a above −``floor`` for every a = ``product``.

    s = ½ (1 + a / (√(a² + 4 f²) + 2 f)), so that s · a = ½ (a + √(a² + 4 f²)) − f: a softplus made of
    a root. It is 0 at a = 0, increases with a, takes every value above −f, and has all its derivatives.

    >>> import torch
    >>> a = torch.tensor([-1e4, 0.0, 1e4])
    >>> a * floored(a, 0.9)
    tensor([-8.9...e-01,  0.0000e+00,  9.9991e+03])
    """
    return 0.5 * (1 + product / ((product * product + 4 * floor * floor).sqrt() + 2 * floor))
