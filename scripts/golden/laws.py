"""Recipes of laws."""

from __future__ import annotations

from diffeo.laws import (
    Bernstein,
    CubicSpline,
    Gaussianization,
    Inverted,
    LinearSpline,
    LogisticMixture,
    MonotonicIntegral,
    QuadraticSpline,
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


def polynomials() -> Made:
    """Return a flow of linear, quadratic and cubic splines, with both tails."""
    kinds = (LinearSpline, QuadraticSpline, CubicSpline)
    laws = [
        kind(4, bound, tails) for kind in kinds for bound, tails in ((3.0, "matching"), (2.5, "linear"))
    ]
    return chained(2, *coupled(2, *laws))
