"""Base densities π(z)."""

from diffeo.distributions.base import Base
from diffeo.distributions.conditional_normal import ConditionalNormal
from diffeo.distributions.full_mixture import FullMixture
from diffeo.distributions.full_normal import FullNormal
from diffeo.distributions.logistic import StandardLogistic
from diffeo.distributions.mixture import Mixture
from diffeo.distributions.normal import DiagonalNormal, StandardNormal
from diffeo.distributions.resampled import Normaliser, Resampled
from diffeo.distributions.student_t import StudentT
from diffeo.distributions.uniform import Uniform
from diffeo.distributions.von_mises import VonMises
from diffeo.distributions.wrapped import Wrapped

__all__ = [
    "Base",
    "ConditionalNormal",
    "DiagonalNormal",
    "FullMixture",
    "FullNormal",
    "Mixture",
    "Normaliser",
    "Resampled",
    "StandardLogistic",
    "StandardNormal",
    "StudentT",
    "Uniform",
    "VonMises",
    "Wrapped",
]
