"""Cases of the splines beside the rational-quadratic one."""

from __future__ import annotations

from dataclasses import replace

from diffeo.laws import CubicSpline, Law, LinearSpline, QuadraticSpline
from diffeo.testing.cases.case import Case
from diffeo.testing.cases.laws import law_cases


def _small(name: str, law: Law, mask: str = "alternating") -> list[Case]:
    """Return the case of a spline: one mask, few sizes; one context for linear tails."""
    contexts = ("none", "per row") if mask == "alternating" else ("per row",)
    return [replace(case, sizes=(1, 2, 3), contexts=contexts) for case in law_cases(name, law, (mask,))]


SPLINES = [
    *_small("laws.LinearSpline", LinearSpline(6)),
    *_small("laws.LinearSpline, linear", LinearSpline(5, 2.0, "linear"), "halves"),
    *_small("laws.QuadraticSpline", QuadraticSpline(6)),
    *_small("laws.QuadraticSpline, linear", QuadraticSpline(5, 2.0, "linear"), "halves"),
    *_small("laws.CubicSpline", CubicSpline(6)),
    *_small("laws.CubicSpline, linear", CubicSpline(5, 2.0, "linear"), "halves"),
]
