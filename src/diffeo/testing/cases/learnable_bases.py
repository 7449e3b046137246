"""Cases of base densities with parameters to learn."""

from __future__ import annotations

from typing import Any

import torch

from diffeo.distributions import (
    Base,
    ConditionalNormal,
    FullMixture,
    FullNormal,
    Mixture,
    Resampled,
    StudentT,
    VonMises,
)
from diffeo.tables.mixed import MixedRows
from diffeo.testing.cases.case import CONTEXT_FEATURES, CONTEXTS, IMAGES, Builder, Case, plain


def _conditional(features: Any, context: int) -> Base:
    # A base that the context moves is never without one, also where its case is only described.
    return ConditionalNormal(features, context or CONTEXT_FEATURES, hidden=(12,))


def _resampled(features: Any, context: int) -> Base:
    return Resampled(features, hidden=(12,), truncation=10, steepness=4.0, nodes=256)


def _mixed_rows(features: Any, context: int) -> Base:
    # Rows of numbers alone are vectors; other columns are tests/tables'.
    columns = [1] * features, [True] * features, [False] * features
    return MixedRows(*columns, hidden=12, blocks=1, components=3, context=context)


def _placed(shared: bool, scale: tuple[float, ...] | None = None) -> Builder:
    def build(features: int, context: int) -> Base:
        scaled = scale is not None
        base = FullMixture(features, components=3, context=context, shared=shared, scaled=scaled)
        factor = torch.eye(features) + 0.3 * torch.randn(1 if shared else 3, features, features).tril(-1)
        slope = 0.3 * torch.randn(features, context)
        return base.place([0.2, 0.5, 0.3], 2 * torch.randn(3, features), 1.5 * factor, slope, scale)

    return build


def _case(name: str, build: Builder, **settings: Any) -> Case:
    return Case(f"distributions.{name}", "base", build, **settings)


_GIVEN = ("shared", "per row")

LEARNABLE_BASES = [
    _case("FullNormal", plain(FullNormal)),
    _case("FullMixture", _placed(shared=False), contexts=("none", *_GIVEN)),
    _case("FullMixture, one covariance", _placed(shared=True)),
    _case("FullMixture, multiples of one covariance", _placed(True, scale=(0.5, 1.0, 2.0))),
    _case("StudentT", plain(StudentT)),
    _case("Mixture", plain(Mixture, components=3), sizes=(1, 2, 3, 7)),
    _case("VonMises", plain(VonMises), domain="box"),
    _case("Resampled", _resampled, sizes=(1, 2, 3, 7)),
    Case("tables.MixedRows", "base", _mixed_rows, contexts=CONTEXTS),
    _case("ConditionalNormal", _conditional, contexts=_GIVEN),
    _case("ConditionalNormal, images", _conditional, sizes=IMAGES, contexts=_GIVEN),
]
