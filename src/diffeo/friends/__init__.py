"""Friends: other ways to model p(x) than a flow, under one interface (:class:`DensityModel`)."""

from diffeo.friends.gaussian import Gaussian
from diffeo.friends.kernel import KernelDensity
from diffeo.friends.mixture import GaussianMixture
from diffeo.friends.protocol import Density, DensityModel, Report

__all__ = ["Density", "DensityModel", "Gaussian", "GaussianMixture", "KernelDensity", "Report"]
