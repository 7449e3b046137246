"""Laws v = g(u; θ): elementwise, strictly increasing maps that a conditioner steers."""

from diffeo.laws.additive import Additive
from diffeo.laws.affine import Affine
from diffeo.laws.bernstein import Bernstein
from diffeo.laws.inverted import Inverted
from diffeo.laws.law import Law
from diffeo.laws.logistic_mixture import LogisticMixture, SigmoidalFlow
from diffeo.laws.numeric import Inversion, NumericLaw
from diffeo.laws.rational_quadratic import RationalQuadratic
from diffeo.laws.sum_of_squares import SumOfSquares

__all__ = [
    "Additive",
    "Affine",
    "Bernstein",
    "Inversion",
    "Inverted",
    "Law",
    "LogisticMixture",
    "NumericLaw",
    "RationalQuadratic",
    "SigmoidalFlow",
    "SumOfSquares",
]
