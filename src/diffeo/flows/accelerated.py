"""The same flow, computed in fewer passes: what training and large scores go through."""

from __future__ import annotations

import torch

from diffeo.bijections import Bijection, Chain, Inverse
from diffeo.bijections.fused import Fused, step_of
from diffeo.flows.flow import Flow
from diffeo.kernels.native import Pool


def accelerated(flow: Flow, *, half: bool = False, training: bool = False) -> Flow:
    """Return ``flow`` with every layer fused that can be; ``flow`` itself where none can.

    Both share their parameters and all other layers: what trains one trains the other. With ``half``, the
    products of matrices inside conditioners are of bfloat16; values, sums, laws, log-determinants and bases
    stay float32.

    >>> from diffeo.flows import RealNVP
    >>> flow, x = RealNVP(3, couplings=2).eval(), torch.ones(4, 3)
    >>> torch.allclose(accelerated(flow).log_prob(x), flow.log_prob(x))
    True
    """
    if flow.dtype != torch.float32 or flow.base.device.type != "cpu":
        return flow
    bijection = _fused(flow.bijection, Pool(), half, training)
    return flow if bijection is flow.bijection else Flow(flow.base, bijection).train(flow.training)


def _fused(part: Bijection, pool: Pool, half: bool, training: bool) -> Bijection:
    """Return the map with what can be fused fused, or the same object where nothing can."""
    if isinstance(part, Inverse):
        inner = _fused(part.bijection, pool, half, training)
        return part if inner is part.bijection else Inverse(inner)
    if not isinstance(part, Chain):
        step = step_of(part, pool, half=half, training=training)
        return part if step is None else Fused([step], pool)
    parts: list[Bijection] = []
    children = list(part.bijections.children())
    for child in children:
        assert isinstance(child, Bijection)
        new = _fused(child, pool, half, training)
        if isinstance(new, Fused) and parts and isinstance(parts[-1], Fused) and _alike(parts[-1], new):
            new = Fused([*parts.pop().steps, *new.steps], pool)
        parts.append(new)
    same = len(parts) == len(children)
    same = same and all(new is old for new, old in zip(parts, children, strict=True))
    return part if same else Chain(*parts)


def _alike(one: Fused, other: Fused) -> bool:
    """Return whether both read the same context, or none: one map then reads it for all."""
    return one.context_features == other.context_features
