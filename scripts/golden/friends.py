"""Recipes of the friends: each fitted to a few rows."""

from __future__ import annotations

from diffeo.friends import Gaussian, GaussianMixture, KernelDensity
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
