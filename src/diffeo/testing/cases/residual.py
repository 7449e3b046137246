"""Cases of the layers whose inverse is a formula and whose forward direction is a search."""

from __future__ import annotations

from collections.abc import Callable

from diffeo.bijections import Bijection, Chain, Planar, Radial
from diffeo.testing.cases.case import CONTEXTS, Builder, Case


def _two(layer: Callable[..., Bijection]) -> Builder:
    """Return the builder of two such layers."""

    def build(features: int, context: int) -> Bijection:
        return Chain(layer(features, context), layer(features, context))

    return build


RESIDUAL = [
    Case("bijections.Planar", "bijection", _two(Planar), contexts=CONTEXTS, identity=True),
    Case("bijections.Radial", "bijection", _two(Radial), contexts=CONTEXTS, identity=True),
]
