"""Friends: the classical exact densities that a flow is measured beside."""

from diffeo.friends.gaussian import Gaussian
from diffeo.friends.kernel import KernelDensity
from diffeo.friends.mixture import GaussianMixture

__all__ = ["Gaussian", "GaussianMixture", "KernelDensity"]
