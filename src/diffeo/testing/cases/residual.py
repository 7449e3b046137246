"""Cases of the layers whose inverse is a formula and whose forward direction is a search: few sizes."""

from __future__ import annotations

from typing import Any

from diffeo.bijections import BNAF, Bijection, Contractive, Planar, Radial, Sylvester
from diffeo.testing.cases.case import Builder, Case, Features

_SIZES: tuple[Features, ...] = (1, 2, 3, 7)


def _planar(features: int, context: int) -> Bijection:
    return Planar(features, context, hidden=(8,))


def _radial(features: int, context: int) -> Bijection:
    return Radial(features, context, hidden=(8,))


def _sylvester(features: int, context: int) -> Bijection:
    return Sylvester(features, min(features, 3), context, hidden=(8,))


def _bnaf(features: int, context: int) -> Bijection:
    return BNAF(features, (4, 3), context, steering=(8,))


def _contractive(features: int, context: int) -> Bijection:
    return Contractive(features, (8, 6), context, lipschitz=0.9)


def _case(name: str, build: Builder, **settings: Any) -> Case:
    contexts = ("none", "per row")
    return Case(
        f"bijections.{name}", "bijection", build, sizes=_SIZES, contexts=contexts, dear=True, **settings
    )


RESIDUAL = [
    _case("Planar", _planar, identity=True),
    _case("Radial", _radial, identity=True),
    _case("Sylvester", _sylvester, identity=True),
    _case("BNAF", _bnaf),
    _case("Contractive", _contractive, identity=True),
]
