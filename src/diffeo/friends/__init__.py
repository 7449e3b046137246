"""Friends: other ways to model p(x) than a flow, under one interface (:class:`DensityModel`)."""

from diffeo.friends.copula import GaussianCopula
from diffeo.friends.gan import GAN
from diffeo.friends.gaussian import Gaussian
from diffeo.friends.kernel import KernelDensity
from diffeo.friends.mixture import GaussianMixture
from diffeo.friends.protocol import Density, DensityModel, Report
from diffeo.friends.vae import VAE

__all__ = [
    "GAN",
    "VAE",
    "Density",
    "DensityModel",
    "Gaussian",
    "GaussianCopula",
    "GaussianMixture",
    "KernelDensity",
    "Report",
]
