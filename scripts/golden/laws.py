"""Recipes of laws."""

from __future__ import annotations

from diffeo.laws import (
    Bernstein,
    Gaussianization,
    Inverted,
    LogisticMixture,
    MonotonicIntegral,
    SigmoidalFlow,
    SumOfSquares,
    Tails,
)
from golden.material import Made, chained, coupled


def searched() -> Made:
    """Return a flow of every law whose inverse is searched for."""
    laws = (
        Bernstein(6),
        Bernstein(5, tails="linear"),
        Gaussianization(3),
        Inverted(SumOfSquares(2, 2)),
        LogisticMixture(3),
        MonotonicIntegral(2),
        SigmoidalFlow(3),
        SumOfSquares(2, 3),
    )
    return chained(2, *coupled(2, *laws))


def tails() -> Made:
    """Return a flow with heavy tails."""
    return chained(2, *coupled(2, Tails(), Tails(0.3)))
