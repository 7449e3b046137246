"""A spline flow with heavy tails."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import Coupling, Mask
from diffeo.conditioners import MLP
from diffeo.distributions import Base
from diffeo.flows.flow import Flow
from diffeo.flows.spline import NSF
from diffeo.laws import Tails


def TTF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    bins: int = 8,
    bound: float = 3.0,
    shape: float = 0.1,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    base: Base | None = None,
) -> Flow:
    """Tail transform flow: a neural spline flow whose output is stretched to power-law tails.

    x_i = μ_i + σ_i (s / λ_is) (erfc(│u_i│ / √2)^−λ_is − 1), with u the output of a spline flow: each
    column has a learnable weight for each of its tails, made of c where there is a context; the splines
    end in the identity, so that λ is the shape of the tail, 1/λ its degrees of freedom. A flow of
    bounded slopes on a normal base has normal tails, whatever it learns; this one has those of the data.

    Source: Hickling & Prangle, *Flexible tails for normalizing flows* (2025), sections 3.1–3.3 ("TTF":
    tails learnt together with the flow).

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: layers of the spline flow (see :func:`NSF`).
        bins: K of its splines.
        bound: half the width of their box.
        shape: λ of the untrained tails, which stays below 1 (see :class:`diffeo.laws.Tails`).
        hidden: hidden widths of the conditioners.
        activation: their activation.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> TTF(1).log_prob(torch.tensor([1e6]))  # a normal density has −5 × 10¹¹ there
    tensor(-1..., grad_fn=...)
    """
    spline = NSF(
        features,
        context,
        transforms=transforms,
        bins=bins,
        bound=bound,
        tails="linear",
        hidden=hidden,
        activation=activation,
        base=base,
    )
    law = Tails(shape)
    weights = MLP(0, features, law.n_params, hidden=hidden, activation=activation, context=context)
    return spline.then(Coupling(law, weights, Mask.given([False] * features)))
