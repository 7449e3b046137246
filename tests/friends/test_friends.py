"""Each friend states a normalised density in the data's own units."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from diffeo.errors import DataError
from diffeo.friends import Gaussian, GaussianMixture, KernelDensity

FRIENDS = [Gaussian, lambda: GaussianMixture(components=(1, 2, 3)), lambda: KernelDensity(bandwidths=5)]


def rows(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [5.0, -3.0]


def test_the_gaussian_is_the_maximum_likelihood_one():
    x = rows()
    expected = multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x)
    np.testing.assert_allclose(Gaussian().fit(x).log_prob(x), expected, atol=1e-10)


@pytest.mark.parametrize("make", FRIENDS)
def test_mass_is_one(make):
    friend = make().fit(rows())
    a, b = np.linspace(-10, 20, 400), np.linspace(-12, 6, 400)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(friend.log_prob(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert mass == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("make", FRIENDS)
def test_a_change_of_unit_shifts_the_log_density_by_its_logarithm(make):
    x, unit = rows(), np.array([1000.0, 1.0])
    shift = make().fit(x).log_prob(x) - make().fit(x * unit).log_prob(x * unit)
    np.testing.assert_allclose(shift, np.log(1000), atol=1e-6)


def test_the_mixture_finds_two_clusters():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-5, 1, (200, 1)), rng.normal(5, 1, (200, 1))])
    assert GaussianMixture().fit(x).describe().startswith("2 components")


@pytest.mark.parametrize("make", FRIENDS)
def test_bad_rows_are_named(make):
    with pytest.raises(DataError, match="row 1"):
        make().fit([[0.0], [np.nan]])
