"""Cases of angles: laws and bijections of the circle and of the torus, and conditioners that see angles."""

from __future__ import annotations

import math
from functools import partial

from diffeo.bijections import Autoregressive, Bijection, Chain, CircularShift, Wrap
from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP, OrderedConditioner, ResidualMLP
from diffeo.laws import Affine, CircularSpline
from diffeo.testing.cases.autoregressive import ordered_by
from diffeo.testing.cases.case import CONTEXTS, Builder, Case, Features, coupled, small_mlp

_SIZES: tuple[Features, ...] = (1, 2, 3)
_TURN = 2 * math.pi


def _masked(features: int, n_params: int, **settings: object) -> OrderedConditioner:
    return MaskedMLP(features, n_params, hidden=(16,), period=_TURN, **settings)  # type: ignore[arg-type]


def _residual(features: int, n_params: int, **settings: object) -> OrderedConditioner:
    return MaskedResidualMLP(features, n_params, width=16, blocks=1, period=_TURN, **settings)  # type: ignore[arg-type]


def _shifted(features: int, context: int) -> Bijection:
    """Return rotations by a constant, and by what the context says."""
    network = MLP(0, features, 1, hidden=(12,), context=context)
    steered = CircularShift(features, start=1.0, conditioner=network)
    return Chain(CircularShift(features), steered)


def _layers(features: int, context: int) -> Bijection:
    first, second = (
        Autoregressive(CircularSpline(4), _masked(features, 12, context=context, order=order))
        for order in ("ascending", "descending")
    )
    return Chain(first, CircularShift(features, start=math.pi), second)


def _wrapped(low: float, high: float) -> Builder:
    """Return the builder of circular splines of angles in another unit."""

    def build(features: int, context: int) -> Bijection:
        return Chain(_layers(features, context), Wrap(low, high))

    return build


def _case(name: str, part: str, build: Builder, **settings: object) -> Case:
    return Case(name, part, build, sizes=_SIZES, **settings)  # type: ignore[arg-type]


CIRCLE = [
    _case(
        "laws.CircularSpline, coupling, alternating",
        "law",
        coupled(CircularSpline(5), "alternating", partial(small_mlp, period=_TURN)),
        contexts=("none", "per row"),
        domain="circle",
        identity=True,
    ),
    _case(
        "laws.CircularSpline, any number",
        "law",
        coupled(CircularSpline(4), "halves", small_mlp),
        contexts=("none",),
        identity=True,
    ),
    _case("bijections.CircularShift", "bijection", _shifted, contexts=CONTEXTS, domain="circle"),
    _case(
        "bijections.CircularShift, splines",
        "bijection",
        _layers,
        contexts=("per row",),
        domain="circle",
    ),
    _case("bijections.Wrap", "bijection", _wrapped(-math.pi, math.pi), domain="circle"),
    _case("bijections.Wrap, degrees", "bijection", _wrapped(-180.0, 180.0), domain="circle"),
    _case(
        "conditioners.ResidualMLP, angles",
        "conditioner",
        coupled(CircularSpline(4), "alternating", partial(ResidualMLP, width=12, blocks=1, period=_TURN)),
        contexts=("per row",),
        domain="circle",
        identity=True,
    ),
    _case(
        "conditioners.MaskedMLP, angles",
        "conditioner",
        ordered_by(_masked, Affine()),
        contexts=CONTEXTS,
        identity=True,
    ),
    _case(
        "conditioners.MaskedResidualMLP, angles",
        "conditioner",
        ordered_by(_residual, Affine()),
        contexts=("per row",),
        identity=True,
    ),
]
