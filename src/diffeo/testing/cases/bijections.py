"""Cases of bijections."""

from __future__ import annotations

from typing import Any

from torch import nn

from diffeo.bijections import (
    ActNorm,
    Affine,
    BatchNorm,
    Bijection,
    Bounded,
    Chain,
    Gaussianize,
    Identity,
    Inverse,
    Log,
    Logit,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.laws import Affine as AffineLaw
from diffeo.testing.cases.case import (
    CONTEXTS,
    IMAGES,
    Builder,
    Case,
    Features,
    coupled,
    mixing,
    plain,
    small_mlp,
)


def _permuted(features: int, context: int) -> Bijection:
    return Chain(Permutation.random(features, seed=3), Permutation.reverse(features))


def _inverted(features: int, context: int) -> Bijection:
    return Inverse(coupled(AffineLaw(), "halves", small_mlp)(features, context))


def _identity(features: Features, context: int) -> Bijection:
    return Identity(1 if isinstance(features, int) else 3)


def _nested(features: int, context: int) -> Bijection:
    inner = Chain(Scale(features), Chain(Affine(features), Identity()))
    return Chain(inner, coupled(AffineLaw(), "halves", small_mlp)(features, context))


def _constant(features: int, context: int) -> Bijection:
    return Chain(
        Affine(features), coupled(AffineLaw(), "halves", small_mlp)(features, context), memory="constant"
    )


def _above(features: int, context: int) -> nn.Module:
    return mixing(Gaussianize(features, 8, low=[-0.5] * features))(features, context)


def _between(features: int, context: int) -> nn.Module:
    return mixing(Gaussianize(features, 8, low=[0.0] * features, high=[1.0] * features))(features, context)


def _mixed_box(features: int, context: int) -> Bijection:
    """Return sides of every kind among features that are positive: (0, ∞), (−1, 1e9), (−∞, 1e9), ℝ."""
    low, high = [0.0, -1.0, None, None], [None, 1e9, 1e9, None]
    return Bounded([low[k % 4] for k in range(features)], [high[k % 4] for k in range(features)])


def _unit_box(features: int, context: int) -> Bijection:
    return Bounded([0.0] * features, [1.0] * features)


def _case(name: str, build: Builder, **settings: Any) -> Case:
    return Case(f"bijections.{name}", "bijection", build, **settings)


BIJECTIONS = [
    _case("Identity", _identity, identity=True),
    _case("Identity, images", _identity, sizes=IMAGES, identity=True),
    _case("Inverse", _inverted, contexts=CONTEXTS, identity=True),
    _case("Chain, nested", _nested, contexts=CONTEXTS, identity=True),
    _case("Chain, constant memory", _constant, contexts=CONTEXTS, identity=True),
    _case("Affine", plain(Affine), identity=True),
    _case("Affine, images", plain(Affine), sizes=IMAGES, identity=True),
    _case("Scale", plain(Scale), identity=True),
    _case("Permutation", _permuted),
    _case("ActNorm", mixing(plain(ActNorm))),
    _case("ActNorm, images", plain(ActNorm), sizes=IMAGES),
    _case("BatchNorm", mixing(plain(BatchNorm))),
    _case("BatchNorm, images", plain(BatchNorm), sizes=IMAGES),
    _case("Standardize, robust", mixing(plain(Standardize)), domain="raw"),
    _case("Standardize, moments", mixing(plain(Standardize, "moments")), domain="raw"),
    _case("Standardize, range", mixing(plain(Standardize, "range")), domain="raw"),
    _case("Standardize, images", plain(Standardize), sizes=IMAGES, domain="raw"),
    _case("Gaussianize", mixing(plain(Gaussianize, 8)), domain="raw"),
    _case("Gaussianize, above a bound", _above, domain="positive"),
    _case("Gaussianize, between bounds", _between, domain="box"),
    _case("Whiten, pca", mixing(plain(Whiten))),
    _case("Whiten, cholesky", mixing(plain(Whiten, "cholesky"))),
    _case("Whiten, zca", mixing(plain(Whiten, "zca"))),
    _case("Log", mixing(Log(shift=-0.5)), domain="positive"),
    _case("Bounded, mixed", mixing(_mixed_box), domain="positive"),
    _case("Bounded, box", mixing(_unit_box), domain="box"),
    _case("Logit", mixing(Logit()), domain="box"),
    _case("Logit, α = 0.05", mixing(Logit(alpha=0.05)), domain="box"),
]
