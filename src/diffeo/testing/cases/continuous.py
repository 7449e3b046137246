"""Cases of continuous flows, by both solvers and with both traces: few, since each is solved often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffeo.bijections import Bijection, Continuous
from diffeo.flows import CNF, FFJORD, Flow, FlowMatching
from diffeo.testing.cases.case import Builder, Case

#: What an adaptive solver cannot do, and what a fixed grid cannot promise.
_STEPS: Mapping[str, str] = {"E3": "dopri5 takes as many steps as its rows need: no fixed graph"}
_GRID: Mapping[str, str] = {
    "A1": "the round trip has the error of a grid of eight steps, which is not predicted",
    "A3": "so has the log-determinant",
    "A9": "so has the density of a sample, found by the way back",
}


#: Fine enough for what is measured in float64. A log-determinant differs from the Jacobian of the value by
#: the solver's truncation, which falls in proportion to the tolerance: on the line, at gain 4, A3 measures
#: 1.2e-9 at 1e-11 and 1.1e-10 at 1e-12, of a trained FFJORD 7.8e-9 and 2.1e-10; its limit is 1e-9.
_FINE: Mapping[str, float] = {"rtol": 1e-12, "atol": 1e-12}


def _continuous(**settings: Any) -> Builder:
    def build(features: int, context: int) -> Bijection:
        return Continuous(features, (6,), context, **_FINE, **settings)

    return build


def _flow(make: Callable[..., Flow]) -> Builder:
    def build(features: int, context: int) -> Flow:
        return make(features, context, hidden=(6,), **_FINE)

    return build


CONTINUOUS = [
    Case(
        name,
        name.split(".")[0].removesuffix("s"),
        build,
        sizes=sizes,
        contexts=(context,),
        thrift=8,
        dear=True,
        identity=True,
        expected_failures=failures,
    )
    for name, build, sizes, context, failures in (
        ("bijections.Continuous", _continuous(), (1, 2), "none", _STEPS),
        (
            "bijections.Continuous, Hutchinson's trace",
            _continuous(trace="hutchinson"),
            (2, 3),
            "per row",
            _STEPS,
        ),
        ("bijections.Continuous, rk4", _continuous(solver="rk4", steps=8), (1, 2, 3), "per row", _GRID),
        ("flows.CNF", _flow(CNF), (2, 3), "none", _STEPS),
        ("flows.FFJORD", _flow(FFJORD), (2, 1), "per row", _STEPS),
        ("flows.FlowMatching", _flow(FlowMatching), (1, 2), "none", _STEPS),
    )
]
