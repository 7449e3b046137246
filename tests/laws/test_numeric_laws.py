"""Laws without a closed inverse: their formulas, their root, their tails, what the search says."""

import math

import numpy as np
import pytest
import torch

from diffeo.errors import ConfigError
from diffeo.kernels.roots import monotone_root
from diffeo.laws import Bernstein, Inverted, LogisticMixture, SigmoidalFlow, SumOfSquares

LAWS = {
    "Bernstein": Bernstein(6),
    "Bernstein, linear": Bernstein(7, tails="linear"),
    "LogisticMixture": LogisticMixture(3),
    "SigmoidalFlow": SigmoidalFlow(3),
    "SumOfSquares": SumOfSquares(2, 3),
}


def drawn(law, rows=50, scale=2.0):
    generator = torch.Generator().manual_seed(3)
    u = 3 * torch.randn(rows, generator=generator, dtype=torch.float64)
    return u, scale * torch.randn(rows, law.n_params, generator=generator, dtype=torch.float64)


def sigma(a):
    return 1 / (1 + math.exp(-a))


def test_the_mixture_of_logistics_is_flow_plus_plus():
    """Ho et al. (2019), equations 12 to 14, one number at a time."""
    law = LogisticMixture(3, bound=30.0, log_scale=3.0, min_slope=0.0)
    u, theta = drawn(law, 20)
    for one, row in zip(u, theta, strict=True):
        weights = np.exp(row[:3].numpy()) / np.exp(row[:3].numpy()).sum()
        means = 30 * np.tanh(row[3:6].numpy() / 30)
        scales = np.exp(3 * np.tanh(row[6:9].numpy() / 3))
        mass = sum(w * sigma((float(one) - m) / s) for w, m, s in zip(weights, means, scales, strict=True))
        wanted = math.log(mass / (1 - mass)) * math.exp(2 * math.tanh(row[9] / 2)) + float(row[10])
        got, _ = law.forward(one[None], row[None])
        assert got.item() == pytest.approx(wanted, rel=1e-9)


def test_the_sum_of_squares_is_the_integral_of_its_squares():
    """Jaini et al. (2019), equation 9, by numpy's polynomials."""
    law = SumOfSquares(2, 3, bound=5.0, limit=50.0, min_slope=0.0)
    u, theta = drawn(law, 20)
    u = u.clamp(-5, 5)
    for one, row in zip(u, theta, strict=True):
        total = np.polynomial.Polynomial([0.0])
        for raw in 50 * np.tanh(row[:-1].reshape(2, 4).numpy() / 50):
            p = np.polynomial.Polynomial(raw / 5.0 ** np.arange(4)) + 1
            total = total + p * p / 2
        wanted = float(row[-1]) + total.integ()(float(one))
        got, log_slope = law.forward(one[None], row[None])
        assert got.item() == pytest.approx(wanted, rel=1e-10)
        assert log_slope.exp().item() == pytest.approx(total(float(one)), rel=1e-10)


@pytest.mark.parametrize("law", [Bernstein(6, min_slope=0.0), Bernstein(7, tails="linear", min_slope=0.0)])
def test_the_bernstein_polynomial_is_de_casteljaus(law):
    u, theta = drawn(law, 20)
    u = u.clamp(-5, 5)
    start, rise = law._increments(theta)
    for one, first, steps in zip(u, start, rise, strict=True):
        beta = np.concatenate([[0.0], np.cumsum(steps.numpy())]) + float(first)
        t = (float(one) + 5) / 10
        while len(beta) > 1:
            beta = (1 - t) * beta[:-1] + t * beta[1:]
        row = theta[(u == one).nonzero()[0, 0]]
        assert law.forward(one[None], row[None])[0].item() == pytest.approx(beta[0], abs=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_beyond_the_box_it_goes_on_straight(name):
    law = LAWS[name]
    _, theta = drawn(law, 10, 1.0)
    for side in (-1, 1):
        edge = torch.full((10,), side * law.bound, dtype=torch.float64)
        at, log_slope = law.forward(edge, theta)
        out, log_far = law.forward(edge + side * 7.0, theta)
        torch.testing.assert_close(out, at + side * 7.0 * log_slope.exp())
        torch.testing.assert_close(log_far, log_slope)
        if name.endswith("linear"):
            torch.testing.assert_close(out, edge + side * 7.0)


@pytest.mark.parametrize("name", LAWS)
def test_a_search_says_what_it_reached(name):
    law = LAWS[name]
    u, theta = drawn(law)
    v, _ = law.forward(u, theta)
    found = law.inverse_with_info(v, theta)
    assert found.converged.all()
    assert found.iterations.max() < 60
    assert (found.residual <= 1e-12 * v.abs().clamp(min=1)).all()
    torch.testing.assert_close(found.value, u, rtol=1e-9, atol=1e-9)


def test_a_search_that_is_cut_short_says_so():
    def steep(u):
        return u**9 + u, (9 * u**8 + 1).log()

    target = torch.tensor([1e8, 0.5], dtype=torch.float64)
    root = monotone_root(steep, target, -100.0, 100.0, max_iter=3)
    assert not root.converged.all()
    assert root.iterations.tolist() == [3, 3]
    root = monotone_root(steep, target, -100.0, 100.0)
    assert root.converged.all()
    torch.testing.assert_close(steep(root.value)[0], target)


def test_newtons_steps_that_lead_astray_are_halved():
    """Newton alone diverges on arctan from |u| > 1.39."""
    root = monotone_root(
        lambda u: (u.atan(), -(1 + u * u).log()), torch.tensor([1.55, -1.55, 0.0]).double(), -1e3, 1e3
    )
    assert root.converged.all()
    torch.testing.assert_close(root.value, torch.tensor([1.55, -1.55, 0.0]).double().tan())


def test_the_roots_derivatives_are_the_implicit_functions():
    def solved(target, a):
        return monotone_root(lambda u: (u**3 + a * u, (3 * u**2 + a).log()), target, -10.0, 10.0).value

    target = torch.tensor([3.0, -2.0], dtype=torch.float64, requires_grad=True)
    a = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(solved, (target, a))
    assert torch.autograd.gradgradcheck(solved, (target, a))


def test_an_inverted_law_changes_sides():
    law = SumOfSquares(2, 2)
    u, theta = drawn(law, 8)
    turned = Inverted(law)
    assert torch.equal(turned.inverse(u, theta)[0], law.forward(u, theta)[0])
    assert turned.slope_bounds() == (1 / law.slope_bounds()[1], 1 / law.slope_bounds()[0])
    with pytest.raises(ConfigError, match="law is a Linear"):
        Inverted(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: Bernstein(0), "degree"),
        (lambda: Bernstein(4, tails="linear"), "degree=4 must be at least 5"),
        (lambda: Bernstein(tails="round"), "tails"),
        (lambda: SumOfSquares(0), "polynomials"),
        (lambda: SumOfSquares(limit=-1.0), "limit"),
        (lambda: LogisticMixture(0), "components"),
        (lambda: LogisticMixture(min_slope=1.0), "min_slope"),
        (lambda: SigmoidalFlow(bound=0.0), "bound"),
    ],
)
def test_what_is_out_of_range_is_named(build, argument):
    with pytest.raises(ConfigError, match=argument):
        build()
