"""Laws v = g(u; θ): elementwise, strictly increasing maps that a conditioner steers."""

from diffeo.laws.additive import Additive
from diffeo.laws.affine import Affine
from diffeo.laws.bernstein import Bernstein
from diffeo.laws.circular_spline import CircularSpline
from diffeo.laws.cubic_spline import CubicSpline
from diffeo.laws.gaussianization import Gaussianization
from diffeo.laws.inverted import Inverted
from diffeo.laws.law import Law
from diffeo.laws.linear_spline import LinearSpline
from diffeo.laws.logistic_mixture import LogisticMixture, SigmoidalFlow
from diffeo.laws.monotonic_integral import MonotonicIntegral
from diffeo.laws.numeric import Inversion, NumericLaw
from diffeo.laws.quadratic_spline import QuadraticSpline
from diffeo.laws.rational_quadratic import RationalQuadratic
from diffeo.laws.sum_of_squares import SumOfSquares
from diffeo.laws.tails import Tails

__all__ = [
    "Additive",
    "Affine",
    "Bernstein",
    "CircularSpline",
    "CubicSpline",
    "Gaussianization",
    "Inversion",
    "Inverted",
    "Law",
    "LinearSpline",
    "LogisticMixture",
    "MonotonicIntegral",
    "NumericLaw",
    "QuadraticSpline",
    "RationalQuadratic",
    "SigmoidalFlow",
    "SumOfSquares",
    "Tails",
]
