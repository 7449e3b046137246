"""Laws of the normal distribution function, and the integral of a network, against other computations."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from diffeo.errors import ConfigError
from diffeo.kernels.normal import hazard, log_lower, lower_quantile
from diffeo.laws import Gaussianization, MonotonicIntegral, Tails


def drawn(law, rows=20, scale=2.0):
    generator = torch.Generator().manual_seed(3)
    u = 3 * torch.randn(rows, generator=generator, dtype=torch.float64)
    return u, scale * torch.randn(rows, law.n_params, generator=generator, dtype=torch.float64)


def test_the_normal_functions_are_scipys_far_into_both_tails():
    a = torch.linspace(-100, 8, 5001, dtype=torch.float64)
    np.testing.assert_allclose(log_lower(a), special.log_ndtr(a.numpy()), rtol=1e-13)
    wanted = stats.norm.logpdf(a.numpy()) - special.log_ndtr(-a.numpy())
    np.testing.assert_allclose(hazard(a), np.exp(wanted), rtol=1e-11, atol=1e-300)
    low = -torch.logspace(-8, 2.3, 5001, dtype=torch.float64)
    torch.testing.assert_close(lower_quantile(log_lower(low)), low, rtol=4e-15, atol=4e-15)


def test_gaussianization_is_the_probit_of_the_mixture():
    law = Gaussianization(4, min_slope=0.0)
    u, theta = drawn(law)
    centre = 10 * np.tanh(theta[:, :4].numpy() / 10)
    rate = np.exp(-3 * np.tanh(theta[:, 4:].numpy() / 3))
    mass = special.ndtr((u.numpy()[:, None] - centre) * rate).mean(-1)
    middle = (mass > 1e-6) & (mass < 1 - 1e-6)  # beyond, the formula as written has lost its digits
    assert middle.sum() > 10
    got = law.forward(u, theta)[0].numpy()
    np.testing.assert_allclose(got[middle], special.ndtri(mass[middle]), rtol=1e-8)


def test_a_mixtures_columns_become_normal():
    law = Gaussianization(2, log_scale=3.0, min_slope=0.0)
    theta = torch.zeros(4, dtype=torch.float64)
    theta[0], theta[1] = (10 * math.atanh(m / 10) for m in (-3.0, 3.0))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, generator=generator, dtype=torch.float64)
    x = x + 6 * torch.randint(2, (4000,), generator=generator) - 3
    z, _ = law.forward(x, theta.expand(4000, -1))
    assert stats.kstest(z.numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_integral_is_scipys_to_ten_digits(scale):
    """At a thousand every bounded weight is at its bound: the hardest integrands there are."""
    law = MonotonicIntegral(8, min_slope=0.0)
    u, theta = drawn(law, 30, scale)
    u = u.clamp(-5, 5)
    got, _ = law.forward(u, theta)
    for one, row, value in zip(u, theta, got, strict=True):

        def slope(t, row=row):
            return math.exp(law.log_integrand(torch.tensor(t, dtype=torch.float64), row))

        wanted, _ = integrate.quad(slope, 0, float(one), epsabs=1e-13, epsrel=1e-13, limit=500)
        assert float(value - row[-1]) == pytest.approx(wanted, rel=1e-10, abs=1e-10)


def test_tails_are_the_published_ones():
    """Hickling & Prangle (2025), equation 5, with numpy."""
    law = Tails(shape=0.3)
    u, theta = drawn(law, 200, 1.0)
    down, up = law.shapes(theta).numpy().T
    shape = np.where(u.numpy() > 0, up, down)
    grown = special.erfc(np.abs(u.numpy()) / np.sqrt(2)) ** -shape - 1
    scale = np.exp(5 * np.tanh(theta[:, 1].numpy() / 5))
    wanted = theta[:, 0].numpy() + scale * np.sign(u.numpy()) / shape * grown
    v, _ = law.forward(u, theta)
    np.testing.assert_allclose(v.numpy(), wanted, rtol=1e-12)
    torch.testing.assert_close(law.inverse(v, theta)[0], u, rtol=1e-11, atol=1e-11)


def test_a_normal_column_gets_the_tail_that_the_shape_says():
    """The Hill exponent of the survival function of v: log P(v > r) falls with slope −1/λ in log r."""
    law = Tails(shape=0.5)
    u = torch.tensor([6.0, 7.0], dtype=torch.float64)
    v, _ = law.forward(u, torch.zeros(2, 4, dtype=torch.float64))
    survival = log_lower(-u)
    fall = (survival[1] - survival[0]) / (v[1].log() - v[0].log())
    assert float(fall) == pytest.approx(-2.0, rel=0.01)


@pytest.mark.parametrize("shape", [0.02, 0.1, 0.9])
def test_a_tail_stays_a_power_law_a_billion_scales_out(shape):
    law = Tails(shape=shape)
    v = torch.tensor([1e8, 1e9], dtype=torch.float64)
    u, log_slope = law.inverse(v, torch.zeros(2, 4, dtype=torch.float64))
    log_density = -0.5 * u * u + log_slope
    fall = (log_density[1] - log_density[0]) / math.log(10)
    assert float(fall) == pytest.approx(-1 / shape - 1, rel=1e-4)


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: Gaussianization(0), "components"),
        (lambda: Gaussianization(log_scale=9.0), "log_scale"),
        (lambda: MonotonicIntegral(17), "units=17"),
        (lambda: MonotonicIntegral(min_slope=-0.1), "min_slope"),
        (lambda: Tails(shape=1.0), "shape=1.0"),
        (lambda: Tails(reach=1e20), "reach=1e"),
        (lambda: Tails(max_shape=3.0), "max_shape"),
    ],
)
def test_what_is_out_of_range_is_named(build, argument):
    with pytest.raises(ConfigError, match=argument):
        build()
