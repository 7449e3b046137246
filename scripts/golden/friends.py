"""Recipes of the friends: each fitted to a few rows."""

from __future__ import annotations

from diffeo.flows import RealNVP
from diffeo.friends import GAN, VAE, Gaussian, GaussianCopula, GaussianMixture, KernelDensity
from golden.material import Made, normal


def gaussian() -> Made:
    """Return a Gaussian of correlated columns."""
    x = normal(40, 2).cumsum(-1)
    return Gaussian().fit(x), x, None


def gaussian_mixture() -> Made:
    """Return a mixture of two normals, one of them far away."""
    x = normal(40, 2)
    x[20:] += 9
    return GaussianMixture(components=(2,)).fit(x), x, None


def kernel_density() -> Made:
    """Return kernels on 40 rows."""
    x = 3 + normal(40, 2)
    return KernelDensity(bandwidths=3).fit(x), x, None


def gaussian_copula() -> Made:
    """Return a copula of a log-normal column and a normal one."""
    x = normal(40, 2).cumsum(-1)
    x[:, 0] = x[:, 0].exp()
    return GaussianCopula(kernels=20).fit(x), x, None


def vae() -> Made:
    """Return a VAE with flows on both sides of its latent variable."""
    x = normal(40, 3).cumsum(-1)
    prior, posterior = RealNVP(2, couplings=2, hidden=(4,)), RealNVP(2, 2, couplings=2, hidden=(4,))
    return VAE(hidden=(4,), prior=prior, posterior=posterior, max_steps=5).fit(x), x, None


def vae_images() -> Made:
    """Return a convolutional VAE of cells with three values."""
    x = (normal(40, 1, 4, 4) > 0).double() + (normal(40, 1, 4, 4, seed=1) > 0)
    return VAE(2, (2, 3), decoder="categorical", max_steps=5).fit(x), x, None


def gan() -> Made:
    """Return a GAN of two columns."""
    x = 3 + normal(40, 2)
    return GAN("hinge", latent=2, hidden=(4,), max_steps=5).fit(x), x, None
