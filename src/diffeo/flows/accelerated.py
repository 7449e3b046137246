"""The same flow, computed in fewer passes: what training, scores and samples go through."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from diffeo.bijections import Bijection, Chain, Inverse
from diffeo.bijections.fused import SPAN, Fused, launched, step_of
from diffeo.bijections.listening import composed_as, listened_to
from diffeo.bijections.rearranged import Rearranged
from diffeo.kernels.native import Pool

#: flow ↦ (what it was made of, what it is computed by); it goes with the flow.
_KNOWN: weakref.WeakKeyDictionary[Any, tuple[tuple[Any, ...], Bijection, Any]] = weakref.WeakKeyDictionary()


#: Fused runs apart from one another that may see to their own memory: each keeps two activations.
_APART = 2


def accelerated(bijection: Bijection, *, half: bool = False, training: bool = False) -> Bijection:
    """Return ``bijection`` with every layer fused that can be; the same object where none can.

    Both share their parameters and all other layers: what trains one trains the other. On a GPU it is the
    rational-quadratic law that is fused, by Triton, and nothing else.

    Args:
        bijection: the map.
        half: whether the processor's kernels take the products of matrices inside conditioners in bfloat16;
            values, sums, laws and log-determinants stay float32.
        training: whether conditioners that drop units do.

    >>> from diffeo.flows import RealNVP
    >>> flow, x = RealNVP(3, couplings=2).eval(), torch.ones(4, 3)
    >>> z, log_det = accelerated(flow.bijection).inverse(x)
    >>> torch.allclose(z, flow.bijection.inverse(x)[0])
    True
    """
    return _fused(bijection, Pool(), half, training)


def evaluated(flow: torch.nn.Module, bijection: Bijection) -> Bijection:
    """Return what a flow's bijection is computed by where no gradient is asked for.

    It is made once for a flow, and again when its modules, laws or parameters are others. A flow that
    somebody listens to, by hooks, is computed as it is.
    """
    # A layer may be there twice, which is another map than once.
    modules = [module for _, module in bijection.named_modules(remove_duplicate=False)]
    parameters = list(bijection.parameters())
    if any(listened_to(module) for module in modules):
        return bijection
    # One part alone may train: units are then dropped in an evaluation on purpose.
    training = any(module.training for module in modules)
    laws = [module.__dict__.get("law") for module in modules]
    made_of = training, *map(id, [*modules, *laws, *parameters]), *((p.dtype, p.device) for p in parameters)
    known = _KNOWN.get(flow)
    if known is None or known[0] != made_of:
        # What it was made of is held, so that nothing else is given its number.
        known = made_of, accelerated(bijection, training=training), (modules, laws, parameters)
        _KNOWN[flow] = known
    return known[1]


def _fused(part: Bijection, pool: Pool, half: bool, training: bool) -> Bijection:
    """Return the map with what can be fused fused, or the same object where nothing can."""
    if listened_to(part):
        return part
    if composed_as(part, Inverse):
        inner = _fused(part.bijection, pool, half, training)
        return part if inner is part.bijection else Inverse(inner)
    if isinstance(part, Rearranged):
        inner = _fused(part.bijection, pool, half, training)
        return part if inner is part.bijection else part.around(inner)
    if composed_as(part, Chain):
        parts: list[Bijection] = []
        same = True
        for child in part.bijections:  # one that is there twice is named twice, as children() does not
            assert isinstance(child, Bijection)
            new = _fused(child, pool, half, training)
            same = same and new is child
            last = parts[-1] if parts else None
            if isinstance(new, Fused):
                new.memory = part.memory
                if isinstance(last, Fused) and last.context_features == new.context_features:
                    new = Fused([*last.steps, *new.steps], pool, part.memory)
                    parts.pop()
            parts.append(new)
        if part.memory == "constant" and sum(isinstance(p, Fused) for p in parts) > _APART:
            # What each keeps would grow with their number: the chain undoes short ones, as other layers.
            for run in parts:
                if isinstance(run, Fused) and len(run.steps) <= SPAN:
                    run.memory = "full"
        return part if same else Chain(*parts, memory=part.memory)
    step = step_of(part, pool, half=half, training=training)
    if step is not None:
        return Fused([step], pool)
    return launched(part) or part
