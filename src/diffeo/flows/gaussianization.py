"""Gaussianization flow."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import Bijection, Coupling, Mask, Orthogonal
from diffeo.conditioners import MLP
from diffeo.distributions import Base
from diffeo.errors import at_least
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import flow_of
from diffeo.laws import Gaussianization, Inverted


def GF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    components: int = 50,
    reflections: int | None = None,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    base: Base | None = None,
) -> Flow:
    """Gaussianization flow: every column made normal by itself, then a rotation, again and again.

    From data to noise, in each layer, x ← R x with a learnable rotation R (a product of Householder
    reflections), then x_i ← Φ⁻¹((1/K) Σ_k Φ((x_i − μ_ik) / h_ik)). The kernels are free parameters, or
    made of c where there is a context. Scoring takes one pass; sampling a search of a bracketed root a
    layer, not D. A layer is that curve for x_i in [−10, 10], and straight beyond: bring columns near unit
    scale (:class:`diffeo.bijections.Standardize`).

    Source: Meng, Song, Song & Ermon, *Gaussianization flows* (2020), sections 3.1–3.3.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: layers.
        components: K, kernels of a column (see :class:`diffeo.laws.Gaussianization`).
        reflections: Householder reflections of a rotation; None for D.
        hidden: hidden widths of the network that reads the context.
        activation: its activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> GF(3, transforms=2).log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """
    at_least("features", features, 1)
    at_least("transforms", transforms, 1)
    law = Inverted(Gaussianization(components))
    layers: list[Bijection] = []
    for _ in range(transforms):
        kernels = MLP(0, features, law.n_params, hidden=hidden, activation=activation, context=context)
        layers.append(Coupling(law, kernels, Mask.given([False] * features)))
        if features > 1:
            layers.append(Orthogonal(features, reflections))
    return flow_of(features, layers, base)
