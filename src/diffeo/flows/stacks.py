"""What named flows are built of: couplings of changing masks, autoregressive layers of changing orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffeo.bijections import Autoregressive, Bijection, Chain, Coupling, Mask
from diffeo.conditioners import MLP, Conditioner, MaskedMLP, OrderedConditioner
from diffeo.distributions import Base, StandardNormal
from diffeo.errors import at_least, one_of
from diffeo.flows.flow import Flow
from diffeo.laws import Law

#: (features, n_params, order, context) ↦ an ordered conditioner.
MakeOrdered = Callable[[int, int, str, int], OrderedConditioner]

#: (in_features, out_features, n_params, context) ↦ a conditioner.
MakeConditioner = Callable[[int, int, int, int], Conditioner]


def masked(hidden: Sequence[int], activation: str, period: float | None = None) -> MakeOrdered:
    """Return the maker of masked perceptrons; ``period`` is that of angles."""

    def make(features: int, n_params: int, order: str, context: int) -> OrderedConditioner:
        return MaskedMLP(
            features,
            n_params,
            hidden=hidden,
            activation=activation,
            context=context,
            order=order,
            period=period,
        )

    return make


def perceptrons(hidden: Sequence[int], activation: str, period: float | None = None) -> MakeConditioner:
    """Return the maker of perceptrons; ``period`` is that of angles."""

    def make(passed: int, moved: int, n_params: int, context: int) -> Conditioner:
        return MLP(
            passed, moved, n_params, hidden=hidden, activation=activation, context=context, period=period
        )

    return make


def autoregressive(
    features: int,
    context: int,
    law: Law,
    transforms: int,
    make: MakeOrdered,
    between: Callable[[], Bijection] | None = None,
) -> list[Bijection]:
    """Return ``transforms`` autoregressive layers, their orders reversed in turn, from noise to data."""
    at_least("features", features, 1)
    at_least("transforms", transforms, 1)
    layers: list[Bijection] = []
    for k in range(transforms):
        if between is not None and k:
            layers.append(between())
        order = "descending" if k % 2 else "ascending"
        layers.append(Autoregressive(law, make(features, law.n_params, order, context)))
    return layers


def couplings(
    features: int,
    context: int,
    law: Law,
    count: int,
    make: MakeConditioner,
    mask: str = "alternating",
    between: Callable[[int], Bijection] | None = None,
) -> list[Bijection]:
    """Return ``count`` couplings whose parts change roles in turn, from noise to data."""
    at_least("features", features, 1)
    at_least("couplings", count, 1)
    one_of("mask", mask, ("alternating", "halves"))
    layers: list[Bijection] = []
    for k in range(count):
        if between is not None and k:
            layers.append(between(k))
        part = getattr(Mask, mask)(features, flip=k % 2 == 1)
        network = make(part.n_passed, part.n_moved, law.n_params, context)
        layers.append(Coupling(law, network, part))
    return layers


def flow_of(features: int, layers: Sequence[Bijection], base: Base | None) -> Flow:
    """Return the flow of these layers over ``base``, the standard normal if not given."""
    return Flow(StandardNormal(features) if base is None else base, Chain(*layers))
