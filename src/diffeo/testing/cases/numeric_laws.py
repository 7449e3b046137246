"""Cases of the laws whose inverse is searched for: few sizes, since a search costs many evaluations."""

from __future__ import annotations

from dataclasses import replace

from diffeo.laws import (
    Bernstein,
    Gaussianization,
    Inverted,
    Law,
    LogisticMixture,
    MonotonicIntegral,
    SigmoidalFlow,
    SumOfSquares,
    Tails,
)
from diffeo.testing.cases.case import Case
from diffeo.testing.cases.laws import law_cases


def searched(name: str, law: Law, contexts: tuple[str, ...] = ("none", "per row")) -> list[Case]:
    """Return the case of a costly law: one mask, few sizes."""
    return [
        replace(case, sizes=(1, 2, 3), contexts=contexts, dear=True)
        for case in law_cases(name, law, ("alternating",))
    ]


NUMERIC_LAWS = [
    *searched("laws.Bernstein", Bernstein(8)),
    *searched("laws.Bernstein, linear", Bernstein(7, tails="linear")),
    *searched("laws.Gaussianization", Gaussianization(3), ("per row",)),
    *searched("laws.Inverted", Inverted(SumOfSquares(2, 2))),
    *searched("laws.LogisticMixture", LogisticMixture(4)),
    *searched("laws.MonotonicIntegral", MonotonicIntegral(2), ("per row",)),
    *searched("laws.SigmoidalFlow", SigmoidalFlow(4)),
    *searched("laws.SumOfSquares", SumOfSquares(2, 3)),
    # No identity: untrained, it has tails already.
    *(replace(case, identity=False) for case in law_cases("laws.Tails", Tails(), ("alternating",))),
]
