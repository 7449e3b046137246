"""Cases of base densities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import distributions as td

from diffeo.distributions import Base, DiagonalNormal, StandardLogistic, StandardNormal, Uniform, Wrapped
from diffeo.testing.cases.case import IMAGES, Builder, Case, plain


def _wrapped(make: Callable[[int], td.Distribution]) -> Builder:
    def build(features: int, context: int) -> Base:
        return Wrapped(make(features))

    return build


def _spread(features: int) -> torch.Tensor:
    return torch.linspace(0.5, 2.0, features)


def _student(features: int) -> td.Distribution:
    return td.StudentT(3.0 + _spread(features))


def _full_normal(features: int) -> td.Distribution:
    factor = torch.eye(features) + 0.5 * torch.ones(features, features).tril(-1) / features
    return td.MultivariateNormal(torch.zeros(features), scale_tril=factor)


def _mixture(features: int) -> td.Distribution:
    centres = torch.stack([-_spread(features), torch.zeros(features), _spread(features)])
    parts = td.Independent(td.Normal(centres, 0.5), 1)
    return td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.5, 0.3])), parts)


def _log_normal(features: int) -> td.Distribution:
    return td.TransformedDistribution(td.Normal(torch.zeros(features), 0.5), [td.ExpTransform()])


def _nested_base(features: int) -> td.Distribution:
    inner = td.Independent(td.Laplace(torch.zeros(features), _spread(features)), 1)
    shift = td.AffineTransform(torch.ones(features), 2.0, event_dim=1)
    return td.TransformedDistribution(inner, [shift])


def _beta(features: int) -> td.Distribution:
    return td.Beta(_spread(features) + 1.0, _spread(features) + 3.0)


def _uniform(features: Any, context: int) -> Base:
    return Uniform(features, low=-1.0, high=3.0)


def _case(name: str, build: Builder, **settings: Any) -> Case:
    return Case(f"distributions.{name}", "base", build, **settings)


BASES = [
    _case("StandardNormal", plain(StandardNormal)),
    _case("StandardNormal, images", plain(StandardNormal), sizes=IMAGES),
    _case("StandardLogistic", plain(StandardLogistic)),
    _case("DiagonalNormal", plain(DiagonalNormal)),
    _case("Uniform", _uniform),
    _case("Wrapped, Student's t", _wrapped(_student)),
    _case("Wrapped, full normal", _wrapped(_full_normal)),
    _case("Wrapped, mixture", _wrapped(_mixture)),
    _case("Wrapped, log-normal", _wrapped(_log_normal)),
    _case("Wrapped, beta", _wrapped(_beta), domain="box"),
    _case("Wrapped, nested", _wrapped(_nested_base)),
]
