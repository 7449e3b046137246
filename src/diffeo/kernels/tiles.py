"""A row's result does not depend on its batch, to the last bit.

A matrix product takes rows in tiles; rows left over for a smaller last tile are summed in another order,
and a single row in a third. Vector instructions leave a tail of elements to another exponential. So a row
scored alone would differ from the same row scored in a batch by a rounding, which an ill-conditioned flow
magnifies. Padding the batch with zero rows to whole tiles takes this away (on one thread; where torch
divides a very large batch among threads, a rounding at the seams remains).

Widths are padded to whole vector registers of sixteen bytes, four float32 or two float64 numbers: at other
widths every other row begins within a register, and is summed in its own order.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Rows of a tile: the widest step of a CPU's vector loop, two registers of sixteen numbers each.
TILE = 32

#: Bytes of the narrowest vector register.
REGISTER = 16


def in_tiles(function: Callable[..., Tensor], x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return ``function(x, context)`` for a function of rows, computed on whole tiles of rows.

    Shapes: ``x`` is ``batch + (features,)``, the context ``batch + (features,)``, and the result
    ``batch + anything``.

    >>> weight = torch.randn(64, 64)
    >>> x = torch.randn(13, 64)
    >>> def product(rows, context):
    ...     return rows @ weight
    >>> torch.equal(in_tiles(product, x)[:1], in_tiles(product, x[:1]))
    True
    """
    batch = x.shape[:-1]
    result = function(_padded(x), None if context is None else _padded(context))
    return result[: batch.numel()].reshape(*batch, *result.shape[1:])


def even_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b, summed over whole registers of features: zeros are added to others.

    >>> even_linear(torch.ones(1, 3), torch.ones(2, 3))
    tensor([[3., 3.]])
    """
    missing = -x.shape[-1] % (REGISTER // x.dtype.itemsize)
    if missing:
        x, weight = torch.nn.functional.pad(x, (0, missing)), torch.nn.functional.pad(weight, (0, missing))
    return torch.nn.functional.linear(x, weight, bias)


def _padded(x: Tensor) -> Tensor:
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    return torch.nn.functional.pad(rows, (0, 0, 0, -rows.shape[0] % TILE))
