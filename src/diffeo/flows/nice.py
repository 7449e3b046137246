"""NICE: additive couplings, a diagonal scaling and a logistic prior."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import Bijection, Chain, Coupling, Mask, Scale
from diffeo.conditioners import MLP
from diffeo.distributions import Base, StandardLogistic
from diffeo.errors import at_least, one_of
from diffeo.flows.flow import Flow
from diffeo.flows.one_feature import check_features, warn_one_feature
from diffeo.laws import Additive


def NICE(
    features: int,
    context: int = 0,
    *,
    couplings: int = 4,
    hidden: Sequence[int] = (1000,) * 5,
    activation: str = "relu",
    mask: str = "alternating",
    base: Base | None = None,
) -> Flow:
    """Non-linear independent components estimation, as published.

    From data to noise: h ← x; in each coupling h_{I₂} ← h_{I₂} + m(h_{I₁}), the two parts exchanging
    roles; then z = exp(s) ⊙ h, and log p(x) = Σᵢ log π(zᵢ) + sᵢ with a standard logistic π. Each
    coupling preserves volume: the diagonal alone changes it.

    Both directions cost one pass. On one feature there is nothing to condition on: the flow is then a
    logistic density with learnable location and scale, and a warning says so.

    Source: Dinh, Krueger & Bengio, *NICE: Non-linear Independent Components Estimation* (2014), sections
    3 and 5.1. Defaults are their MNIST model: four couplings, odd/even parts, five hidden layers of 1000
    rectified units. For a table of a few columns, hidden=(128, 128) is plenty.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        couplings: additive couplings (at least 3 let every feature influence every other).
        hidden: hidden widths of each conditioner.
        activation: its activation.
        mask: "alternating" (odd/even, as published) or "halves".
        base: the base density, the standard logistic if not given.

    >>> import torch
    >>> flow = NICE(4, hidden=(32,))
    >>> flow.log_prob(torch.zeros(4))  # 4 log ¼: untrained, it is its base
    tensor(-5.5452, grad_fn=...)
    """
    check_features("NICE", features)
    at_least("couplings", couplings, 1)
    one_of("mask", mask, ("alternating", "halves"))
    if features == 1:
        warn_one_feature("NICE", "logistic")
    law = Additive()
    layers: list[Bijection] = []
    for k in range(couplings):
        part = getattr(Mask, mask)(features, flip=k % 2 == 1)
        conditioner = MLP(
            part.n_passed,
            part.n_moved,
            law.n_params,
            hidden=hidden,
            activation=activation,
            context=context,
        )
        layers.append(Coupling(law, conditioner, part))
    # The paper counts couplings from the data; a chain counts from the noise.
    return Flow(StandardLogistic(features) if base is None else base, Chain(Scale(features), *layers[::-1]))
