"""Residual flows and block neural autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import BNAF as BNAFLayer
from diffeo.bijections import ActNorm, Bijection, Contractive, Permutation
from diffeo.distributions import Base
from diffeo.errors import at_least
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import flow_of


def ResidualFlow(
    features: int,
    context: int = 0,
    *,
    blocks: int = 10,
    hidden: Sequence[int] = (128, 128, 128),
    activation: str = "lipswish",
    lipschitz: float = 0.97,
    log_det: str = "exact",
    base: Base | None = None,
) -> Flow:
    """Residual flow: z = x + g(x, c) in each block, from data to noise, with g a contraction.

    Activation normalisation stands on the data side of each block. Scoring takes one pass and the
    log-determinant: exactly D products with the Jacobian, or its unbiased estimate by Russian roulette;
    sampling iterates to the fixed point.

    Source: Chen, Behrmann, Duvenaud & Jacobsen, *Residual flows for invertible generative modeling* (2019);
    Behrmann et al., *Invertible residual networks* (2019). Their 2-D models have 100 blocks of four layers
    of 128 units; ten are enough for a first look.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        blocks: contractive layers.
        hidden: hidden widths of g.
        activation: "lipswish" or "tanh".
        lipschitz: the largest Lipschitz constant of g.
        log_det: "exact" or "unbiased" (see :class:`diffeo.bijections.Contractive`).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> ResidualFlow(2, blocks=2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    at_least("features", features, 1)
    at_least("blocks", blocks, 1)
    layers: list[Bijection] = []
    for k in range(blocks):
        layer = Contractive(
            features,
            hidden,
            context,
            lipschitz=lipschitz,
            activation=activation,
            log_det=log_det,
            seed=k,
        )
        layers += [layer, ActNorm(features)]
    return flow_of(features, layers, base)


def BNAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    hidden: Sequence[int] = (10, 10),
    base: Base | None = None,
) -> Flow:
    """Block neural autoregressive flow: a network of positive blocks, with a triangular Jacobian.

    From data to noise each layer is a network whose hidden layers hold ``hidden`` units for every
    feature; the order of the features is reversed from layer to layer. Scoring takes one pass, sampling a
    search for each feature.

    Source: De Cao, Titov & Aziz, *Block neural autoregressive flow* (2019), equations 7–11; 5 flows of 2
    layers with 10 units a feature are the smaller of their models of tables.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: networks.
        hidden: hidden units for each feature, one number a layer.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> BNAF(2, transforms=2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    at_least("features", features, 1)
    at_least("transforms", transforms, 1)
    layers: list[Bijection] = []
    for k in range(transforms):
        if k and features > 1:
            layers.append(Permutation.reverse(features))
        layers.append(BNAFLayer(features, hidden, context))
    return flow_of(features, layers, base)
