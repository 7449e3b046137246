"""Laws v = g(u; θ): elementwise, strictly increasing maps that a conditioner steers."""

from diffeo.laws.additive import Additive
from diffeo.laws.affine import Affine
from diffeo.laws.law import Law

__all__ = ["Additive", "Affine", "Law"]
