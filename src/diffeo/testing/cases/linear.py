"""Cases of linear maps, of elementwise ones, and of what divides an event."""

from __future__ import annotations

from typing import Any

from diffeo.bijections import LU, QR, SVD, InvertibleConv1x1, Orthogonal, Triangular
from diffeo.testing.cases.case import IMAGES, Builder, Case, Features, plain

_SIZES: tuple[Features, ...] = (1, 2, 3, 7)


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
]
