"""Cases of the continuous layer, by both solvers and with both traces: few sizes, each is solved often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffeo.bijections import Bijection, Continuous
from diffeo.testing.cases.case import Builder, Case, Features

_SIZES: tuple[Features, ...] = (1, 2, 3)

#: What an adaptive solver cannot do, and what a fixed grid cannot promise.
_STEPS: Mapping[str, str] = {"E3": "dopri5 takes as many steps as its rows need: no fixed graph"}
_GRID: Mapping[str, str] = {
    "A1": "the round trip has the error of a grid of eight steps, which is not predicted",
    "A3": "so has the log-determinant",
}


def _continuous(**settings: Any) -> Builder:
    def build(features: int, context: int) -> Bijection:
        return Continuous(features, (6,), context, rtol=1e-10, atol=1e-10, **settings)

    return build


def _case(name: str, build: Builder, contexts: tuple[str, ...], failures: Mapping[str, str]) -> Case:
    return Case(
        f"bijections.{name}",
        "bijection",
        build,
        sizes=_SIZES,
        contexts=contexts,
        identity=True,
        expected_failures=failures,
    )


CONTINUOUS = [
    _case("Continuous", _continuous(), ("none", "per row"), _STEPS),
    _case("Continuous, Hutchinson's trace", _continuous(trace="hutchinson"), ("none",), _STEPS),
    _case("Continuous, rk4", _continuous(solver="rk4", steps=8), ("per row",), _GRID),
]
