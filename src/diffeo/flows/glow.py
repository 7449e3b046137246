"""Glow and Flow++ for vectors: activation normalisation, a learnable mixing of features, a coupling."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import LU, ActNorm, Bijection, Coupling, Mask
from diffeo.conditioners import MLP, Conditioner, ResidualMLP
from diffeo.distributions import Base
from diffeo.errors import at_least
from diffeo.flows.flow import Flow
from diffeo.flows.one_feature import check_features, warn_one_feature
from diffeo.flows.stacks import MakeConditioner, flow_of
from diffeo.laws import Affine, Inverted, Law, LogisticMixture


def Glow(
    features: int,
    context: int = 0,
    *,
    steps: int = 32,
    hidden: Sequence[int] = (512, 512),
    activation: str = "relu",
    bound: float = 2.0,
    base: Base | None = None,
) -> Flow:
    """Glow's step of flow, for vectors.

    From data to noise, in each step: activation normalisation, set on the first batch; x ← W x, with W =
    P L U the vector form of the invertible 1 × 1 convolution; an affine coupling of the two halves. Both
    directions cost one pass.

    Source: Kingma & Dhariwal, *Glow: Generative flow with invertible 1 × 1 convolutions* (2018), table 1
    and section 3; depth 32 and width 512 are those of their images. For a table of a few columns,
    steps=8 and hidden=(64, 64) are plenty.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        steps: steps of flow.
        hidden: hidden widths of each conditioner.
        activation: its activation.
        bound: the largest log-scale of a coupling (see :class:`diffeo.laws.Affine`).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> Glow(4, steps=2, hidden=(16,)).log_prob(torch.zeros(5, 4)).shape
    torch.Size([5])
    """
    check_features("Glow", features)
    if features == 1:
        warn_one_feature("Glow", "normal")

    def perceptron(passed: int, moved: int, n_params: int, given: int) -> Conditioner:
        return MLP(passed, moved, n_params, hidden=hidden, activation=activation, context=given)

    return flow_of(features, _steps(features, context, Affine(bound), "steps", steps, perceptron), base)


def FlowPP(
    features: int,
    context: int = 0,
    *,
    couplings: int = 8,
    components: int = 32,
    width: int = 96,
    blocks: int = 2,
    activation: str = "gelu",
    base: Base | None = None,
) -> Flow:
    """Flow++ for vectors: couplings by the distribution function of a mixture of logistics.

    From data to noise, in each step: activation normalisation; x ← W x with W = P L U; then x₁ is passed
    and x₂ ← logit(Σ_k π_k σ((x₂ − μ_k) exp(−s_k))) · exp(a) + b with parameters made of x₁ and c by a
    residual network. Scoring takes one pass, sampling a search of a bracketed root in each coupling. A
    coupling is that curve for x₂ in [−30, 30], and straight beyond.

    Source: Ho, Chen, Srinivas, Duan & Abbeel, *Flow++* (2019), section 3.2; K = 32 and width 96 are
    those of their images, where the network is convolutional with attention and data are dequantised by a
    flow.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        couplings: steps, a coupling each.
        components: K (see :class:`diffeo.laws.LogisticMixture`).
        width: hidden units of each residual network.
        blocks: its residual blocks.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> FlowPP(4, couplings=2, width=16).log_prob(torch.zeros(5, 4)).shape
    torch.Size([5])
    """
    check_features("FlowPP", features)

    def residual(passed: int, moved: int, n_params: int, given: int) -> Conditioner:
        return ResidualMLP(
            passed, moved, n_params, width=width, blocks=blocks, activation=activation, context=given
        )

    law = Inverted(LogisticMixture(components))
    return flow_of(features, _steps(features, context, law, "couplings", couplings, residual), base)


def _steps(
    features: int, context: int, law: Law, name: str, count: int, make: MakeConditioner
) -> list[Bijection]:
    """Return ``count`` steps of Glow from noise to data: a coupling, the mixing, the normalisation."""
    at_least(name, count, 1)
    layers: list[Bijection] = []
    for k in range(count):
        part = Mask.halves(features, flip=k % 2 == 1)
        network = make(part.n_passed, part.n_moved, law.n_params, context)
        layers += [Coupling(law, network, part), LU(features), ActNorm(features)]
    return layers
