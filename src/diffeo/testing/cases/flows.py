"""Cases of named flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffeo.bijections import Bijection, Logit, Standardize, Whiten
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.testing.cases.case import CONTEXTS, Builder, Case


def _logit(features: int) -> Bijection:
    return Logit()


def _nice(mask: str, **settings: Any) -> Builder:
    def build(features: int, context: int) -> Flow:
        return NICE(features, context, hidden=(12,), mask=mask, **settings)

    return build


def _real_nvp(*after: Callable[[int], Bijection], **settings: Any) -> Builder:
    def build(features: int, context: int) -> Flow:
        options: dict[str, Any] = {"couplings": 4, "hidden": (12,), **settings}
        flow = RealNVP(features, context, **options)
        for layer in after:
            flow = flow.then(layer(features))
        return flow

    return build


def _case(name: str, build: Builder, **settings: Any) -> Case:
    return Case(f"flows.{name}", "flow", build, contexts=CONTEXTS, **settings)


FLOWS = [
    _case("NICE", _nice("alternating")),
    _case("NICE, halves", _nice("halves")),
    _case("RealNVP", _real_nvp()),
    _case("RealNVP, halves, tanh", _real_nvp(mask="halves", activation="tanh", batch_norm=False)),
    _case("RealNVP, Standardize", _real_nvp(Standardize), domain="raw"),
    _case("RealNVP, Whiten, Standardize", _real_nvp(Whiten, Standardize), domain="raw"),
    _case("RealNVP, Logit", _real_nvp(_logit), domain="box"),
]
