"""Cases of the autoregressive layer and of its conditioners.

Sampling takes a step for each feature: few sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from diffeo.bijections import Autoregressive, Bijection, Chain, Inverse
from diffeo.conditioners import CausalTransformer, MaskedMLP, MaskedResidualMLP, OrderedConditioner
from diffeo.laws import Affine, Law, RationalQuadratic
from diffeo.testing.cases.case import CONTEXTS, Builder, Case, Features

_SIZES: tuple[Features, ...] = (1, 2, 3, 7)


def ordered_by(conditioner: Callable[..., OrderedConditioner], law: Law, inverse: bool = False) -> Builder:
    """Return the builder of two autoregressive layers of opposite orders."""

    def build(features: int, context: int) -> Bijection:
        layers: list[Bijection] = []
        for order in ("ascending", "descending"):
            network = conditioner(features, law.n_params, context=context, order=order)
            layer = Autoregressive(law, network)
            layers.append(Inverse(layer) if inverse else layer)
        return Chain(*layers)

    return build


def _masked(features: int, n_params: int, **settings: object) -> OrderedConditioner:
    return MaskedMLP(features, n_params, hidden=(16,), **settings)  # type: ignore[arg-type]


def _residual(features: int, n_params: int, **settings: object) -> OrderedConditioner:
    return MaskedResidualMLP(features, n_params, width=16, blocks=1, **settings)  # type: ignore[arg-type]


def _transformer(features: int, n_params: int, **settings: object) -> OrderedConditioner:
    return CausalTransformer(features, n_params, width=8, heads=2, blocks=1, **settings)  # type: ignore[arg-type]


def _graph(features: int, context: int) -> Bijection:
    """Return a layer in which each feature depends on the one or two before it alone."""
    i = torch.arange(features)
    near = (i[:, None] > i[None, :]) & (i[:, None] - i[None, :] <= 2 - i[:, None] % 2)
    network = MaskedMLP(features, 2, hidden=(3,), context=context, adjacency=near.tolist())
    return Autoregressive(Affine(), network)


AUTOREGRESSIVE = [
    Case(name, part, build, sizes=_SIZES, contexts=contexts, identity=True)
    for name, part, build, contexts in (
        ("conditioners.MaskedMLP", "conditioner", ordered_by(_masked, Affine()), CONTEXTS),
        ("conditioners.MaskedResidualMLP", "conditioner", ordered_by(_residual, Affine()), CONTEXTS),
        (
            "conditioners.CausalTransformer",
            "conditioner",
            ordered_by(_transformer, Affine()),
            ("none", "per row"),
        ),
        ("bijections.Autoregressive, graph", "bijection", _graph, ("none", "per row")),
        ("bijections.Autoregressive, inverse", "bijection", ordered_by(_masked, Affine(), True), ("none",)),
        (
            "laws.RationalQuadratic, autoregressive",
            "law",
            ordered_by(_masked, RationalQuadratic(4)),
            ("none",),
        ),
    )
]
