"""Real NVP for vectors: affine couplings with alternating masks and batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import BatchNorm, Bijection, Chain, Coupling, Mask
from diffeo.conditioners import MLP
from diffeo.distributions import Base, StandardNormal
from diffeo.errors import at_least, flag, one_of
from diffeo.flows.flow import Flow
from diffeo.flows.one_feature import check_features, warn_one_feature
from diffeo.laws import Affine


def RealNVP(
    features: int,
    context: int = 0,
    *,
    couplings: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    mask: str = "alternating",
    bound: float = 2.0,
    batch_norm: bool = True,
    dropout: float = 0.0,
    base: Base | None = None,
) -> Flow:
    """Real-valued non-volume preserving flow, as published, for vectors.

    In each coupling y₁ = x₁, y₂ = x₂ ⊙ exp(s(x₁)) + t(x₁), with alternating masks and, after each
    coupling on the way to noise, batch normalisation; log p(x) = log N(z; 0, I) + Σ log-determinants.

    Both directions cost one pass. On one feature there is nothing to condition on: the flow is then a
    normal density with learnable location and scale, and a warning says so.

    Source: Dinh, Sohl-Dickstein & Bengio, *Density estimation using Real NVP* (2017), sections 3.2–3.7;
    for vectors, the settings of Papamakarios, Pavlakou & Murray, *Masked autoregressive flow* (2017).

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        couplings: affine couplings.
        hidden: hidden widths of each conditioner.
        activation: its activation.
        mask: "alternating" or "halves".
        bound: the largest log-scale of a coupling (see :class:`diffeo.laws.Affine`).
        batch_norm: whether each coupling is followed by batch normalisation.
        dropout: dropout in the conditioners.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = RealNVP(3, couplings=4).eval()
    >>> flow.sample((5,)).shape
    torch.Size([5, 3])
    """
    check_features("RealNVP", features)
    at_least("couplings", couplings, 1)
    flag("batch_norm", batch_norm)
    one_of("mask", mask, ("alternating", "halves"))
    if features == 1:
        warn_one_feature("RealNVP", "normal")
    law = Affine(bound)
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
            dropout=dropout,
        )
        if batch_norm:
            layers.append(BatchNorm(features))
        layers.append(Coupling(law, conditioner, part))
    return Flow(StandardNormal(features) if base is None else base, Chain(*layers))
