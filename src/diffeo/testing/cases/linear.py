"""Cases of linear maps, of elementwise ones, and of what divides an event."""

from __future__ import annotations

from typing import Any

from diffeo.bijections import (
    LU,
    QR,
    SVD,
    ActNorm,
    Affine,
    Bijection,
    Chain,
    Inverse,
    InvertibleConv1x1,
    LeakyReLU,
    Orthogonal,
    Power,
    SinhArcsinh,
    Softplus,
    Split,
    Squeeze,
    Tanh,
    Triangular,
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

_SIZES: tuple[Features, ...] = (1, 2, 3, 7)
_EVEN: tuple[Features, ...] = ((1, 2, 2), (1, 2, 4), (2, 4, 2), (3, 4, 4))


def _split(features: int, context: int) -> Bijection:
    at = (features + 1) // 2
    return Split(features, at, coupled(AffineLaw(), "halves", small_mlp)(at, context))


def _scales(shape: tuple[int, int, int], context: int) -> Bijection:
    """Return two scales: half of the channels of a squeezed image are factored out after the first."""
    channels, height, width = shape
    inner = (4 * channels, height // 2, width // 2)
    half = (2 * channels, *inner[1:])
    squeeze, mix = Squeeze(shape), InvertibleConv1x1(inner, permute="random")
    second = Split(inner, half[0], Affine(half))
    return Split(shape, channels, Chain(Inverse(squeeze), second, mix, ActNorm(inner), squeeze))


def _case(name: str, build: Builder, **settings: Any) -> Case:
    return Case(f"bijections.{name}", "bijection", build, **settings)


LINEAR = [
    _case("LU", plain(LU), identity=True),
    _case("LU, permuted", plain(LU, permute="random", seed=2), sizes=_SIZES),
    _case("Triangular", plain(Triangular), identity=True),
    _case("Triangular, upper", plain(Triangular, lower=False), sizes=_SIZES, identity=True),
    _case("Orthogonal", plain(Orthogonal), identity=True),
    _case("Orthogonal, few", plain(Orthogonal, reflections=2), sizes=_SIZES, identity=True),
    _case("QR", plain(QR), sizes=_SIZES, identity=True),
    _case("SVD", plain(SVD), sizes=_SIZES, identity=True),
    _case("InvertibleConv1x1", plain(InvertibleConv1x1), sizes=IMAGES, identity=True),
    _case("Softplus", mixing(Softplus()), domain="positive"),
    _case("Tanh", mixing(Tanh()), domain="box"),
    _case("LeakyReLU", mixing(LeakyReLU(0.3))),
    _case("Power", plain(Power), identity=True),
    _case("Power, fixed", mixing(plain(Power, exponent=0.7)), sizes=_SIZES),
    _case("Power, images", plain(Power), sizes=IMAGES, identity=True),
    _case("SinhArcsinh", plain(SinhArcsinh), identity=True),
    _case("SinhArcsinh, images", plain(SinhArcsinh), sizes=IMAGES, identity=True),
    _case("Split", _split, contexts=CONTEXTS, identity=True),
    _case("Squeeze", _scales, sizes=_EVEN),
]
