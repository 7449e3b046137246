"""Laws v = g(u; θ): elementwise, strictly increasing maps that a conditioner steers."""

from diffeo.laws.additive import Additive
from diffeo.laws.affine import Affine
from diffeo.laws.bernstein import Bernstein
from diffeo.laws.gaussianization import Gaussianization
from diffeo.laws.inverted import Inverted
from diffeo.laws.law import Law
from diffeo.laws.logistic_mixture import LogisticMixture, SigmoidalFlow
from diffeo.laws.monotonic_integral import MonotonicIntegral
from diffeo.laws.numeric import Inversion, NumericLaw
from diffeo.laws.rational_quadratic import RationalQuadratic
from diffeo.laws.sum_of_squares import SumOfSquares
from diffeo.laws.tails import Tails

__all__ = [
    "Additive",
    "Affine",
    "Bernstein",
    "Gaussianization",
    "Inversion",
    "Inverted",
    "Law",
    "LogisticMixture",
    "MonotonicIntegral",
    "NumericLaw",
    "RationalQuadratic",
    "SigmoidalFlow",
    "SumOfSquares",
    "Tails",
]
