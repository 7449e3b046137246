"""Elementwise maps beside their published formulas, at their edges and far out."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from diffeo.bijections import Inverse, LeakyReLU, Power, SinhArcsinh, Softplus, Tanh
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow

GRID = torch.tensor([-30.0, -5.0, -1.0, -1e-3, 0.0, 1e-8, 0.3, 1.0, 4.0, 25.0], dtype=torch.float64)


def skewed(tail, skew):
    """Return the map of one feature with these s and ε."""
    part = SinhArcsinh(1).double()
    with torch.no_grad():
        part.raw_log_tail.fill_(part.bound * math.atanh(tail / part.bound))
        part.raw_skewness.fill_(part.skew * math.atanh(skew / part.skew))
    return part


def by_element(part, values):
    """Return the values and log-slopes of ``values``, each an event of its own."""
    moved, log_slope = part(values[:, None])
    return moved[:, 0].detach(), log_slope.detach()


PARTS = {
    "softplus": Softplus(),
    "tanh": Tanh(),
    "leaky": LeakyReLU(0.2),
    "power 0.6": Power(1, exponent=0.6),
    "power 1.5": Power(1, exponent=1.5),
    "sinh-arcsinh": skewed(0.4, -1.2),
    "sinh-arcsinh, light": skewed(-0.5, 2.0),
}


@pytest.mark.parametrize("name", PARTS)
def test_log_slopes_are_autograds(name):
    part = PARTS[name].double()
    at = GRID[(GRID.abs() < 15) & (GRID != 0)]
    slopes = torch.func.vmap(torch.func.grad(lambda z: part(z[None])[0][0]))(at)
    torch.testing.assert_close(by_element(part, at)[1], slopes.log(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_the_way_back_is_the_way_back(name):
    part = PARTS[name].double()
    at = GRID if name.startswith(("leaky", "power", "sinh")) else GRID[GRID.abs() < 6]
    x, there = by_element(part, at)
    z, back = by_element(Inverse(part), x)
    torch.testing.assert_close(z, at, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(back, -there, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_the_density_of_a_normal_that_went_through_is_one_in_all(name):
    flow = Flow(StandardNormal(1), PARTS[name]).double()
    low, high = {"softplus": (0.0, np.inf), "tanh": (-1.0, 1.0)}.get(name, (-np.inf, np.inf))

    def density(x):
        return float(flow.log_prob(torch.tensor([x], dtype=torch.float64)).detach().exp())

    middle = float(flow.bijection(torch.zeros(1, dtype=torch.float64))[0].detach())
    mass = sum(integrate.quad(density, *ends, limit=200)[0] for ends in ((low, middle), (middle, high)))
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_softplus_keeps_the_digits_of_both_tails():
    values, log_slope = by_element(Softplus(), GRID)
    np.testing.assert_allclose(values, np.logaddexp(0, GRID.numpy()), rtol=1e-14)
    np.testing.assert_allclose(log_slope, special.log_expit(GRID.numpy()), rtol=1e-14)
    small = torch.tensor([1e-300, 1e-12, 40.0], dtype=torch.float64)
    z, _ = by_element(Inverse(Softplus()), small)
    np.testing.assert_allclose(z, [math.log(1e-300), math.log(1e-12) + 5e-13, 40.0], rtol=1e-14)


def test_softplus_never_leaves_the_positive_numbers():
    for dtype in (torch.float32, torch.float64):
        x, log_det = Softplus()(torch.tensor([[-1e4], [-1e20], [-torch.inf]], dtype=dtype))
        assert (x > 0).all()
        assert float(log_det[0]) == -1e4


def test_what_is_outside_has_density_zero():
    flow = Flow(StandardNormal(2), Softplus())
    rows = torch.tensor([[0.0, 1.0], [-1.0, 1.0], [torch.inf, 1.0], [-torch.inf, 1.0]])
    assert flow.log_prob(rows).tolist() == [-torch.inf] * 4
    flow = Flow(StandardNormal(2), Tanh())
    assert flow.log_prob(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])).tolist() == [-torch.inf] * 3


def test_tanh_is_tanh():
    values, log_slope = by_element(Tanh(), GRID)
    inside = values.abs() < 1
    assert inside.all()
    # The two numbers next to ±1 stay free: values are kept inside by one spacing more than rounding needs.
    np.testing.assert_allclose(values, np.tanh(GRID.numpy()), rtol=0, atol=2 * np.finfo(float).eps)
    np.testing.assert_allclose(log_slope, -2 * np.log(np.cosh(GRID.numpy())), rtol=1e-13, atol=1e-15)
    small = GRID[GRID.abs() < 1]
    np.testing.assert_allclose(by_element(Inverse(Tanh()), small)[0], np.arctanh(small.numpy()), atol=3e-16)


def test_a_leaky_rectifier_has_two_slopes():
    values, log_slope = by_element(LeakyReLU(0.25), torch.tensor([-4.0, -0.0, 0.0, 3.0]))
    assert values.tolist() == [-1.0, 0.0, 0.0, 3.0]
    assert log_slope.tolist() == pytest.approx([math.log(0.25), 0.0, 0.0, 0.0])
    assert by_element(Inverse(LeakyReLU(0.25)), torch.tensor([-1.0, 3.0]))[0].tolist() == [-4.0, 3.0]


@pytest.mark.parametrize("exponent", [0.5, 0.8, 1.0, 1.3, 1.5])
def test_the_power_is_that_of_yeo_and_johnson(exponent):
    values, log_slope = by_element(Power(1, exponent=exponent), GRID)
    np.testing.assert_allclose(values, stats.yeojohnson(GRID.numpy(), exponent), rtol=1e-12)
    # scipy's likelihood has the summed log-slopes: (λ − 1) Σ sign(z) log(1 + │z│) − n/2 log var.
    spread = -len(GRID) / 2 * np.log(np.var(values.numpy()))
    llf = stats.yeojohnson_llf(exponent, GRID.numpy())
    assert float(log_slope.sum()) + spread == pytest.approx(float(llf), rel=1e-10)


def test_a_learned_power_starts_at_the_identity_and_keeps_its_bound():
    part = Power((2, 1, 1), bound=0.3)
    z = torch.tensor([[-2.0], [0.1]])[:, :, None]
    assert torch.equal(part(z)[0], z)
    with torch.no_grad():
        part.raw_exponent.copy_(torch.tensor([100.0, -100.0])[:, None, None])
    found = part(z)[0].flatten().tolist()
    wanted = [float(stats.yeojohnson([v], p)[0]) for v, p in ((-2.0, 1.3), (0.1, 0.7))]
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(("tail", "skew"), [(0.5, 0.0), (-0.5, 1.0), (0.3, -2.0)])
def test_jones_and_pewseys_formula_is_the_way_to_the_noise(tail, skew):
    x = GRID.numpy()
    z, log_slope = by_element(Inverse(skewed(tail, skew)), GRID)
    delta = math.exp(-tail)
    inner = delta * np.arcsinh(x) - skew
    np.testing.assert_allclose(z, np.sinh(inner), rtol=1e-12)
    slope = delta * np.cosh(inner) / np.sqrt(1 + x**2)
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PARTS if name.startswith(("power", "sinh"))])
def test_the_far_formula_meets_the_near_one(name):
    part = PARTS[name].double()
    edge = 1e150 if name.startswith("power") else 1e75
    at = torch.tensor([edge * (1 - 1e-9), edge * (1 + 1e-9)], dtype=torch.float64)
    for signed in (at, -at):
        values, log_slope = by_element(part, signed)
        np.testing.assert_allclose(values[0], values[1], rtol=1e-7)
        np.testing.assert_allclose(log_slope[0], log_slope[1], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in PARTS if name.startswith(("leaky", "power", "sinh"))])
def test_infinities_stay_and_log_slopes_do_not_cancel_them(name):
    for part in (PARTS[name], Inverse(PARTS[name])):
        values, log_slope = by_element(
            part.double(), torch.tensor([-torch.inf, torch.inf, torch.nan]).double()
        )
        assert values[:2].tolist() == [-torch.inf, torch.inf]
        assert log_slope[:2].isfinite().all()
        assert values[2].isnan()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LeakyReLU(0.0), "slope=0.0 must be a finite number of at least 1e-06"),
        (lambda: LeakyReLU(event_ndim=0), "event_ndim=0 must be a whole number of at least 1"),
        (lambda: Softplus(0), "event_ndim=0 must be a whole number of at least 1"),
        (lambda: Power(2, exponent=0.0), "exponent=0.0 must be a finite number .*, or None"),
        (lambda: Power(2, bound=0.7), "bound=0.7 must be a finite number .* at most 0.5"),
        (lambda: SinhArcsinh(2, bound=1.0), "bound=1.0 must be a finite number .* at most 0.6"),
        (lambda: SinhArcsinh(2, skew=0.0), "skew=0.0 must be a finite number above 0 and at most 4"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


@pytest.mark.parametrize("part", [Power(3), SinhArcsinh(3)])
def test_a_wrong_shape_is_named(part):
    with pytest.raises(ShapeError, match=r"x has shape \(4, 2\); expected \(\.\.\., 3\)"):
        part.inverse(torch.ones(4, 2))
