"""Loops of one's own, at the speed of :func:`~diffeo.fit`'s steps."""

from __future__ import annotations

from typing import Any

from diffeo.errors import ConfigError, one_of
from diffeo.flows import Flow
from diffeo.objectives import MaximumLikelihood
from diffeo.training.compute import computed
from diffeo.training.config import TrainConfig


def accelerate(flow: Flow, precision: str = "float32") -> Flow:
    """Return the same flow, computed by what :func:`~diffeo.fit` computes its steps by.

    For a training loop of one's own: log p_θ(x) and its gradient towards θ and x come from the compiled
    kernels, where they know a layer (:func:`~diffeo.fit` needs none of this). Both flows have the same
    parameters, so that what trains one trains the other. Train by what is returned; score, sample, copy and
    save by ``flow``, whose ``state_dict`` has other names. A layer that was moved or cast since, was given
    other parts, parameters, masks or hooks, or of which a method was replaced, is computed by torch;
    accelerate the flow anew after that, and after its chains were given other layers or ``set_memory``.

    Args:
        flow: the flow, which stays as it is. What is read off data (Standardize, ActNorm, …) is read
            before: ``flow.initialise(x)``.
        precision: of the products of matrices inside conditioners: "float32"; "bfloat16"; or "auto", which
            is bfloat16 where that pays, as in :class:`~diffeo.TrainConfig`. Laws, sums and log-determinants
            are float32 in any case, and all of a flow in float64 is float64.

    Returns:
        The flow to take gradients of by autograd, once and of first order: ``create_graph=True`` and a
        second pass backward through one graph raise RuntimeError; ``torch.func`` and ``torch.compile`` get
        torch's formulas. It is ``flow`` itself where nothing can be computed in another way: in float64,
        on a processor without a compiler, with other layers alone.

    Raises:
        ConfigError: an argument is not as described.

    >>> import torch
    >>> from diffeo.flows import NSF
    >>> x = torch.randn(256, 3, generator=torch.Generator().manual_seed(0))
    >>> flow = NSF(3, transforms=2, hidden=(32,))
    >>> fast = accelerate(flow)
    >>> optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     loss = -fast.log_prob(x).mean()
    ...     loss.backward()
    ...     optimizer.step()
    >>> torch.allclose(flow.log_prob(x), fast.log_prob(x), atol=1e-4)
    True
    """
    given: Any = flow
    if not isinstance(given, Flow):
        raise ConfigError(
            f"flow is a {type(given).__name__}; expected a diffeo Flow, as diffeo.flows.RealNVP(features)."
        )
    one_of("precision", precision, ("float32", "bfloat16", "auto"))
    modes = [(part, part.training) for part in flow.modules()]
    fast = computed(flow, MaximumLikelihood(), TrainConfig(precision=precision)).flow
    for part, training in modes:  # some alone may train
        part.training = training
    return fast
