"""The Gaussian copula against numerical integration, and against a Gaussian's closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from diffeo.friends import Gaussian, GaussianCopula
from diffeo.friends.smoothed import kernels_of, log_density, quantile


def skewed(n=400, seed=0):
    """Rows whose columns are a log-normal and two clusters, and depend."""
    rng = np.random.default_rng(seed)
    z = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], size=n)
    return np.stack([np.exp(z[:, 0]), z[:, 1] + 6 * (z[:, 1] > 0)], 1)


@pytest.fixture(scope="module")
def copula():
    return GaussianCopula(kernels=60).fit(skewed())


def test_its_marginals_are_the_kernel_densities(copula):
    """∫ p(x₁, x₂) dx₂ = f₁(x₁), whatever R is."""
    b = np.linspace(-10, 16, 2000)  # smooth and vanishing at its ends: the trapezoid's error is tiny
    for x1 in (0.3, 1.5, 4.0):
        p = np.exp(copula.log_prob(np.stack([np.full_like(b, x1), b], 1)))
        mass = p.sum() * (b[1] - b[0])
        u = (x1 - float(copula.mean[0])) / float(copula.scale[0])
        f = norm.pdf(u, copula.centres[0].numpy(), copula.widths[0].numpy()).mean() / float(copula.scale[0])
        assert mass == pytest.approx(f, rel=1e-5)


def test_mass_is_one_where_columns_are_no_normals(copula):
    a, b = np.linspace(-3, 40, 500), np.linspace(-8, 14, 200)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(copula.log_prob(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert mass == pytest.approx(1.0, abs=1e-3)


def test_it_is_above_the_gaussian_on_skewed_rows(copula):
    new = skewed(seed=1)
    # A log-normal row beyond all others has little density under any kernel: hence the median.
    gain = copula.log_prob(new) - Gaussian().fit(skewed()).log_prob(new)
    assert np.median(gain) > 0.5
    assert gain.mean() > 0.5


def test_on_normal_rows_it_is_near_the_truth():
    truth = multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]])
    model = GaussianCopula().fit(truth.rvs(3000, random_state=0))
    new = truth.rvs(3000, random_state=1)
    assert (truth.logpdf(new) - model.log_prob(new)).mean() == pytest.approx(0.0, abs=0.03)


def test_the_normal_score_and_the_quantile_are_each_others_inverse():
    centres = torch.tensor([-3.0, -2.9, 0.0, 50.0], dtype=torch.float64)
    z = torch.linspace(-7, 7, 57, dtype=torch.float64)
    widths = torch.tensor([0.3, 0.3, 0.5, 2.0], dtype=torch.float64)
    u = quantile(z, centres, widths)
    log_f, back = log_density(u, centres, widths)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        log_f, torch.from_numpy(np.log(norm.pdf(u[:, None], centres, widths).mean(1))), rtol=1e-9, atol=1e-9
    )


def test_far_rows_have_small_densities_that_are_numbers(copula):
    log_p = copula.log_prob([[1e3, 0.0], [1e5, 1e5], [-1e5, 0.0], [1e200, 0.0]])
    assert np.isfinite(log_p[:3]).all()
    assert (log_p[:3] < -1000).all()
    assert log_p[3] == -np.inf


def test_widths_follow_the_rows():
    rng = np.random.default_rng(0)
    apart = torch.from_numpy(np.concatenate([rng.normal(-20, 1, 500), rng.normal(20, 1, 500)]))
    assert 0.1 < kernels_of(apart, 200)[1].median() < 1.5
    _, widths = kernels_of(torch.from_numpy(rng.normal(0, 1, 1000)), 200)
    assert 0.1 < widths.median() < 0.6
    centres, widths = kernels_of(torch.from_numpy(rng.normal(0, 1, 1000)).exp(), 200)
    assert widths[-1] > 5 * widths[0]
    assert len(centres) == len(widths) == 200


def test_columns_that_are_constant_or_alike_are_no_obstacle():
    x = skewed(50)
    x = np.column_stack([x, x[:, 0], np.full(50, 4.0)])
    model = GaussianCopula().fit(x)
    assert np.isfinite(model.log_prob(x)).all()
    assert np.isfinite(model.sample(20)).all()
