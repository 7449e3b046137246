"""Planar, radial and Sylvester flows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffeo.bijections import Bijection
from diffeo.bijections import Planar as PlanarLayer
from diffeo.bijections import Radial as RadialLayer
from diffeo.bijections import Sylvester as SylvesterLayer
from diffeo.distributions import Base
from diffeo.errors import at_least
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import flow_of


def Planar(
    features: int,
    context: int = 0,
    *,
    transforms: int = 10,
    hidden: Sequence[int] = (32,),
    base: Base | None = None,
) -> Flow:
    """Planar flow: z = x + û tanh(wᵀx + b) in each layer, from data to noise.

    Scoring is a formula; sampling searches one bracketed root a layer. (The paper's layer samples by the
    formula: ``Inverse`` of this one.) A layer bends space along one direction, w: many features take many
    layers.

    Source: Rezende & Mohamed, *Variational inference with normalizing flows* (2015), equation 10.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: layers.
        hidden: hidden widths of the network that reads the context.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> Planar(2).log_prob(torch.zeros(5, 2)).shape
    torch.Size([5])
    """
    return _stack(features, transforms, lambda: PlanarLayer(features, context, hidden=hidden), base)


def Radial(
    features: int,
    context: int = 0,
    *,
    transforms: int = 10,
    hidden: Sequence[int] = (32,),
    base: Base | None = None,
) -> Flow:
    """Radial flow: z = x + β (x − x₀) / (α + ‖x − x₀‖) in each layer, from data to noise.

    Both directions are formulas.

    Source: Rezende & Mohamed, *Variational inference with normalizing flows* (2015), equation 14.

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: layers.
        hidden: hidden widths of the network that reads the context.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> Radial(2).sample((5,)).shape
    torch.Size([5, 2])
    """
    return _stack(features, transforms, lambda: RadialLayer(features, context, hidden=hidden), base)


def Sylvester(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    units: int | None = None,
    hidden: Sequence[int] = (32,),
    base: Base | None = None,
) -> Flow:
    """Sylvester flow: z = x + Q R tanh(R̃ Qᵀx + b) in each layer, from data to noise.

    Scoring is a formula; sampling searches ``units`` bracketed roots a layer.

    Source: van den Berg, Hasenclever, Tomczak & Welling, *Sylvester normalizing flows for variational
    inference* (2018), equation 13 (H-SNF).

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: layers.
        units: M, columns of Q; None for D.
        hidden: hidden widths of the network that reads the context.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> Sylvester(3, units=2).log_prob(torch.zeros(5, 3)).shape
    torch.Size([5])
    """
    return _stack(
        features, transforms, lambda: SylvesterLayer(features, units, context, hidden=hidden), base
    )


def _stack(features: int, transforms: int, make: Callable[[], Bijection], base: Base | None) -> Flow:
    at_least("features", features, 1)
    at_least("transforms", transforms, 1)
    return flow_of(features, [make() for _ in range(transforms)], base)
