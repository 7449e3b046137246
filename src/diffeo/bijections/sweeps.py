"""From noise to data through an autoregressive layer by sweeps: Jacobi's method, and Gauss and Seidel's.

    x_B ← g(z_B; m_B(x)),   until a sweep changes no bit of the row's x_B,   for blocks B of features.

Jacobi's has one block, all features. The first sweep settles those of the first level, which depend on
none, the k-th those of the k-th level: as many sweeps as there are levels are enough, whatever the network.
Where dependences are weak far fewer are. A row that a sweep does not change has x = g(z; m(x)) without any
residual, and there is one such x: what a pass for each level finds, level by level. So what is returned
is known to be right.

Gauss and Seidel's takes blocks of levels one after another, each with all that those before it have become,
and what holds of all features holds of each block. No sweep goes over what has settled, or cannot yet: it
costs a pass of the conditioner, as Jacobi's does, but the law's part is that of one block. It takes no more
sweeps than there are levels either, and no fewer than Jacobi's. So it pays where dependences are strong and
the law is what costs, as one that searches does; where they are weak Jacobi's is faster.

Source: Song, Meng, Liao & Ermon, *Accelerating feedforward computation via parallel nonlinear equation
solving* (2021), algorithm 1 and proposition 1, and their hybrid of the two methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from diffeo.kernels.roots import certain
from diffeo.laws import Law

#: Features in levels, as an ordered conditioner has them.
Levels = list[list[int]]


def in_blocks(levels: Levels, most: int) -> list[Levels]:
    """Return levels that follow one another in at most ``most`` blocks, all but the last of one size.

    >>> in_blocks([[3], [0, 1], [2]], 2)
    [[[3], [0, 1]], [[2]]]
    """
    size = -(-len(levels) // most)
    return [levels[start : start + size] for start in range(0, len(levels), size)]


@torch.no_grad()
def by_sweeps(
    law: Law, steer: Callable[[Tensor], Tensor], z: Tensor, blocks: list[Levels], max_iter: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, the log-slopes, where rows have settled, and after how many sweeps; without derivatives.

    A row that has settled stays as it is, so that its answer does not depend on the rows beside it.

    Shapes: z, x and the slopes ``batch + (D,)``, all else ``batch``.

    Args:
        law: g.
        steer: x ↦ θ.
        z: the noise.
        blocks: of levels, in their order; one of all is Jacobi's method.
        max_iter: sweeps, over all blocks, after which a row that has not settled is given up; None for as
            many as there are levels, which settle every row.
    """
    x, slopes = z, torch.zeros_like(z)
    taken = torch.zeros_like(z[..., 0])
    lost = taken > 0
    for block in blocks:
        index = torch.tensor(sorted(chain.from_iterable(block)), device=z.device)
        noise, done = z.index_select(-1, index), lost
        for sweep in range(1, len(block) + 1):
            if max_iter is not None:
                lost = lost | (~done & (taken >= max_iter))
                done = done | lost
                if certain(done):
                    break
            theta = steer(x).index_select(-2, index)
            ahead, ahead_slopes = law.forward(noise, theta.to(z.dtype))
            taken = taken + torch.where(done, 0.0, 1.0)
            here, last = x.index_select(-1, index), torch.full_like(done, sweep == len(block))
            stays = done.unsqueeze(-1)
            done = done | last | unchanged(here, ahead)
            kept = slopes.index_select(-1, index)
            x = x.index_copy(-1, index, torch.where(stays, here, ahead))
            slopes = slopes.index_copy(-1, index, torch.where(stays, kept, ahead_slopes))
            if certain(done):
                break
    return x, slopes, ~lost, taken


def unchanged(x: Tensor, ahead: Tensor) -> Tensor:
    """Return in which rows ``ahead`` is x; NaN is itself.

    >>> x = torch.tensor([[1.0, torch.nan], [1.0, 2.0]])
    >>> unchanged(x, torch.tensor([[1.0, torch.nan], [1.0, 3.0]]))
    tensor([ True, False])
    """
    return ((ahead == x) | (ahead.isnan() & x.isnan())).all(-1)


def derivative_asked(tensors: Iterable[Tensor]) -> bool:
    """Return whether a derivative may be asked for, or a graph is being made, of a function of ``tensors``.

    Sweeps that end by what they see have neither.

    >>> derivative_asked([torch.ones(2)]), derivative_asked([torch.ones(2, requires_grad=True)])
    (False, True)
    """
    if torch.compiler.is_compiling():
        return True
    functorch: Any = torch._C._functorch  # pyright: ignore
    return any(
        (torch.is_grad_enabled() and tensor.requires_grad)
        or functorch.is_functorch_wrapped_tensor(tensor)
        or forward_ad.unpack_dual(tensor).tangent is not None
        for tensor in tensors
    )
