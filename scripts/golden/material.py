"""What recipes are made with: numbers, couplings, and a flow that is past its start."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Chain, Coupling, Mask
from diffeo.conditioners import MLP
from diffeo.distributions import Base, StandardNormal
from diffeo.flows import Flow
from diffeo.laws import Law

#: A model, rows of data, and their context.
Made: TypeAlias = tuple[nn.Module, Tensor, Tensor | None]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return standard normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ready(flow: Flow, x: Tensor, context: Tensor | None = None) -> Flow:
    """Return the flow initialised on ``x``, every parameter moved off its start."""
    flow.to(x.dtype).initialise(x, context)
    with torch.no_grad():
        for number, parameter in enumerate(flow.parameters()):
            parameter += 0.4 * normal(*parameter.shape, seed=number).to(parameter.dtype)
    return flow.eval()


def chained(features: int, *layers: Bijection, x: Tensor | None = None, base: Base | None = None) -> Made:
    """Return the flow of these layers, with rows of normal data if none are given."""
    x = normal(40, features) if x is None else x
    return ready(Flow(StandardNormal(features) if base is None else base, Chain(*layers)), x), x, None


def coupled(features: int, *laws: Law) -> list[Bijection]:
    """Return a coupling of each law, whose parts change roles in turn."""
    layers: list[Bijection] = []
    for k, law in enumerate(laws):
        mask = Mask.halves(features, flip=k % 2 == 1)
        layers.append(Coupling(law, MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=(4,)), mask))
    return layers
