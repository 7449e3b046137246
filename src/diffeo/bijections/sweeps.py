"""From noise to data through an autoregressive layer by sweeps over all features at once: Jacobi's method.

    x ← g(z; m(x)),   until a sweep changes no bit of the row.

The first sweep settles the features of the first level, which depend on none, the k-th those of the k-th
level: as many sweeps as there are levels are enough, whatever the network. Where dependences are weak far
fewer are. A row that a sweep does not change has x = g(z; m(x)) without any residual, and there is one
such x: level by level it is what a pass for each level finds. So what is returned is known to be right.

Source: Song, Meng, Liao & Ermon, *Accelerating feedforward computation via parallel nonlinear equation
solving* (2021), algorithm 1 and proposition 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from diffeo.kernels.roots import certain
from diffeo.laws import Law


@torch.no_grad()
def by_sweeps(
    law: Law, steer: Callable[[Tensor], Tensor], z: Tensor, levels: int, max_iter: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, the log-slopes, where rows have settled, and after how many sweeps; without derivatives.

    A row that has settled stays as it is, so that its answer does not depend on the rows beside it.

    Shapes: z, x and the slopes ``batch + (D,)``, all else ``batch``.

    Args:
        law: g.
        steer: x ↦ θ.
        z: the noise.
        levels: of the graph: so many sweeps settle every row.
        max_iter: sweeps after which a row that has not settled is given up; None for ``levels``.
    """
    x, slopes = z, torch.zeros_like(z)
    taken = torch.zeros_like(z[..., 0])
    done = taken > 0
    for sweep in range(1, min(levels, max_iter or levels) + 1):
        ahead, ahead_slopes = law.forward(z, steer(x).to(z.dtype))
        taken = taken + torch.where(done, 0.0, 1.0)
        here = done.unsqueeze(-1)
        last = torch.full_like(done, sweep == levels)
        done = done | last | unchanged(x, ahead)
        x, slopes = torch.where(here, x, ahead), torch.where(here, slopes, ahead_slopes)
        if certain(done):
            break
    return x, slopes, done, taken


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
