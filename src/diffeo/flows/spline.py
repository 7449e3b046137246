"""Neural spline flows."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.conditioners import MLP, Conditioner
from diffeo.distributions import Base
from diffeo.errors import one_of
from diffeo.flows.flow import Flow
from diffeo.flows.stacks import autoregressive, couplings, flow_of, masked
from diffeo.laws import RationalQuadratic


def NSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    structure: str = "autoregressive",
    bins: int = 8,
    bound: float = 3.0,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    tails: str = "matching",
    base: Base | None = None,
) -> Flow:
    """Neural spline flow: rational-quadratic splines, autoregressive (RQ-NSF (AR)) or in couplings (C).

    Each feature goes through a monotone spline whose knots are made of the features before it (or of those
    that the coupling passes) and of c. Autoregressive layers score in one pass and sample in D; couplings
    take one pass both ways. Beyond ±``bound`` splines are straight: standardise the data
    (:class:`diffeo.bijections.Standardize`, which :func:`diffeo.fit` adds where it is told to).

    Source: Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), sections 3 and 4. K = 8
    bins and B = 3 are theirs; depth and width are sized for tables of a few columns (theirs: 10 layers of
    two residual blocks of 256 units).

    Args:
        features: the number of features D.
        context: features of the context, 0 for none.
        transforms: autoregressive layers, or couplings.
        structure: "autoregressive" or "coupling".
        bins: K (see :class:`diffeo.laws.RationalQuadratic`).
        bound: half the width of the box.
        hidden: hidden widths of each conditioner.
        activation: its activation.
        tails: "matching" or "linear" (as published).
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> NSF(3, structure="coupling").sample((5,)).shape
    torch.Size([5, 3])
    """
    one_of("structure", structure, ("autoregressive", "coupling"))
    law = RationalQuadratic(bins, bound, tails)
    if structure == "autoregressive":
        layers = autoregressive(features, context, law, transforms, masked(hidden, activation))
        return flow_of(features, layers, base)

    def perceptron(passed: int, moved: int, n_params: int, given: int) -> Conditioner:
        return MLP(passed, moved, n_params, hidden=hidden, activation=activation, context=given)

    return flow_of(features, couplings(features, context, law, transforms, perceptron), base)
