"""Parameters that show something: at the default initialisation every flow passes, and proves nothing."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Continuous
from diffeo.flows import Flow

M = TypeVar("M", bound=nn.Module)

#: What weight matrices are multiplied by.
GAINS = (1.0, 2.0, 4.0, 16.0)


@torch.no_grad()
def stress(
    module: M, gain: float = 1.0, seed: int = 0, *, x: Tensor | None = None, context: Tensor | None = None
) -> M:
    """Return a copy, in evaluation mode, with lively parameters: nothing is left at zero.

    Parameters that are all zero (last layers, log-scales, shifts) are drawn at random, and every weight
    matrix is multiplied by ``gain``; what does not learn, as a fixed permutation, stays. With rows ``x``,
    what is read off data is then read off them, so that no mean is 0 and no scale 1.

    >>> from diffeo.flows import RealNVP
    >>> flow = RealNVP(2, couplings=2)
    >>> bool((stress(flow, gain=4.0).log_prob(torch.ones(2)) != flow.eval().log_prob(torch.ones(2))))
    True
    """
    own = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in own.parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim in (2, 4)
        if parameter.numel() and not bool(parameter.any()):
            spread = parameter[0].numel() ** -0.5 if matrix else 0.5
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * spread)
        if matrix:
            parameter.mul_(gain)
    if x is not None and isinstance(own, Flow | Bijection):
        own.initialise(x, context)
    return own


def trained(flow: Flow, x: Tensor, context: Tensor | None = None, steps: int = 20) -> Flow:
    """Return a copy after a few steps of maximum likelihood on ``x``, in evaluation mode.

    >>> from diffeo.flows import NICE
    >>> flow, x = NICE(2, hidden=(8,)), 0.1 * torch.ones(16, 2)
    >>> bool(trained(flow, x).log_prob(x).mean() > flow.log_prob(x).mean())
    True
    """
    own = copy.deepcopy(flow).initialise(x, context).train()
    # Steps need no solution as fine as the checks that come after them.
    solved = [(layer, layer.rtol, layer.atol) for layer in own.modules() if isinstance(layer, Continuous)]
    for layer, *_ in solved:
        layer.rtol = layer.atol = 1e-5
    parameters = [p for p in own.parameters() if p.requires_grad]
    if parameters:
        adam = torch.optim.Adam(parameters, lr=0.02)
        with torch.enable_grad():
            for _ in range(steps):
                adam.zero_grad()
                (-own.log_prob(x, context).mean()).backward()
                adam.step()
        adam.zero_grad()
    for layer, rtol, atol in solved:
        layer.rtol, layer.atol = rtol, atol
    return own.eval()
