"""Laws v = g(u; θ): elementwise, strictly increasing maps that a conditioner steers."""

from diffeo.laws.additive import Additive
from diffeo.laws.affine import Affine
from diffeo.laws.law import Law
from diffeo.laws.rational_quadratic import RationalQuadratic

__all__ = ["Additive", "Affine", "Law", "RationalQuadratic"]
