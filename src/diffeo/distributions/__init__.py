"""Base densities π(z)."""

from diffeo.distributions.base import Base
from diffeo.distributions.logistic import StandardLogistic
from diffeo.distributions.normal import DiagonalNormal, StandardNormal
from diffeo.distributions.uniform import Uniform
from diffeo.distributions.wrapped import Wrapped

__all__ = ["Base", "DiagonalNormal", "StandardLogistic", "StandardNormal", "Uniform", "Wrapped"]
