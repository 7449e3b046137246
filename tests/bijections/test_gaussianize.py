"""Gaussianize: densities of single columns, beside the laws that they were drawn from."""

import math
from typing import NamedTuple

import pytest
import scipy.stats as st
import torch

import diffeo
from diffeo.bijections import Gaussianize
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.files import load, save
from diffeo.flows import Flow, RealNVP
from diffeo.training import TrainConfig


class Law(NamedTuple):
    """A law, and the most nats a row that a fit to 100, 1,000 and 10,000 rows may lose to it.

    Limits are about one and a half times what is measured at this seed. Over twelve seeds, 100 rows lose
    0.02 to 0.07 in the mean; a hard edge that is not told costs most with many rows.
    """

    law: object
    most: tuple[float, float, float]
    low: float | None = None
    high: float | None = None


class Two:
    """½ N(−3, ½) + ½ N(2, 1)."""

    def rvs(self, size, random_state):
        first = random_state.random(size) < 0.5
        far, near = random_state.normal(-3, 0.5, size), random_state.normal(2, 1, size)
        return torch.where(torch.tensor(first), torch.tensor(far), torch.tensor(near)).numpy()

    def logpdf(self, x):
        return torch.logaddexp(
            torch.tensor(st.norm.logpdf(x, -3, 0.5)), torch.tensor(st.norm.logpdf(x, 2, 1))
        ).numpy() - math.log(2)


LAWS = {
    "normal": Law(st.norm(), (0.06, 0.006, 0.001)),
    "Student, 2": Law(st.t(2), (0.06, 0.01, 0.001)),
    "Cauchy": Law(st.cauchy(), (0.1, 0.015, 0.0015)),
    "Laplace": Law(st.laplace(), (0.07, 0.012, 0.0015)),
    "lognormal": Law(st.lognorm(1.0), (0.1, 0.012, 0.006)),
    "lognormal, above 0": Law(st.lognorm(1.0), (0.08, 0.01, 0.0015), low=0.0),
    "uniform": Law(st.uniform(), (0.09, 0.015, 0.006)),
    "uniform, in [0, 1]": Law(st.uniform(), (0.05, 0.006, 0.001), low=0.0, high=1.0),
    "exponential": Law(st.expon(), (0.1, 0.015, 0.018)),
    "exponential, above 0": Law(st.expon(), (0.07, 0.007, 0.001), low=0.0),
    "gamma, above 0": Law(st.gamma(0.5), (0.04, 0.006, 0.001), low=0.0),
    "two modes": Law(Two(), (0.08, 0.015, 0.0015)),
}


def drawn(law, rows, seed):
    import numpy as np

    values = law.rvs(size=rows, random_state=np.random.default_rng(seed))
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


def fitted(x, **settings):
    return Gaussianize(x.shape[-1], **settings).double().initialise(x)


def log_prob(layer, x):
    u, log_slope = layer.elementwise(x)
    return log_slope - 0.5 * u * u - 0.5 * math.log(2 * math.pi)


def gap(law, rows, seed=0, **settings):
    """Return the nats a row by which a fit is worse than the law, on 20,000 new rows."""
    layer, x = fitted(drawn(law, rows, seed), **settings), drawn(law, 20_000, 10_000 + seed)
    return float((torch.tensor(law.logpdf(x.numpy())) - log_prob(layer, x)).mean())


@pytest.mark.parametrize("name", LAWS)
def test_a_column_is_fitted_nearly_as_well_as_its_law(name):
    law, most, low, high = LAWS[name]
    bounds = {"low": [low], "high": [high]}
    for rows, limit in zip((100, 1000, 10_000), most, strict=True):
        assert gap(law, rows, **bounds) < limit


SHAPES = {
    "normal": st.norm(),
    "heavy": st.cauchy(),
    "two modes": Two(),
    "skewed": st.lognorm(1.5),
    "bounded": st.beta(0.7, 3),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("rows", [3, 50, 2000])
def test_mass_is_one(name, rows):
    bounded = name == "bounded"
    layer = fitted(
        drawn(SHAPES[name], rows, 1), low=[0.0 if bounded else None], high=[1.0 if bounded else None]
    )
    # ∫ p dx between images of u, by the trapezoid rule on points that are equal in u.
    u = torch.linspace(-8, 8, 200_001, dtype=torch.float64).unsqueeze(-1)
    x = layer.elementwise_back(u)
    p = log_prob(layer, x).exp()
    if not bounded:  # beyond 1 − x = 10⁻¹⁶ there is no number
        assert float((x.diff(dim=0) > 0).double().mean()) > 0.999
    mass = torch.trapezoid(p.squeeze(-1), x.squeeze(-1))
    assert abs(float(mass) - 1) < 1e-6


@pytest.mark.parametrize("name", SHAPES)
def test_directions_undo_each_other_and_slopes_are_autograd_s(name):
    layer = fitted(drawn(SHAPES[name], 500, 2))
    u = torch.linspace(-35, 35, 701, dtype=torch.float64).reshape(-1, 1).requires_grad_()
    x, log_det = layer(u)
    (slope,) = torch.autograd.grad(x.sum(), u)
    torch.testing.assert_close(slope.log().squeeze(-1), log_det, rtol=1e-9, atol=1e-9)
    leaf = x.detach().requires_grad_()
    back, log_back = layer.inverse(leaf)
    torch.testing.assert_close(back, u, rtol=1e-9, atol=1e-9)
    (slope,) = torch.autograd.grad(back.sum(), leaf)
    torch.testing.assert_close(slope.log().squeeze(-1), log_back, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(log_back, -log_det, rtol=1e-8, atol=1e-8)


def test_each_direction_is_twice_differentiable_within_a_bin():
    layer = fitted(drawn(st.norm(), 200, 3), knots=4)
    x = torch.tensor([[-5.1], [0.21], [0.77], [6.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer.inverse, (x,))
    assert torch.autograd.gradgradcheck(layer.inverse, (x,))
    assert torch.autograd.gradgradcheck(layer.forward, (x,))


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("name", ["normal", "heavy", "two modes"])
def test_units_move_the_density_by_their_logarithm(name, unit):
    x, new = drawn(SHAPES[name], 500, 4), drawn(SHAPES[name], 100, 5)
    new = new.clamp(-1e4, 1e4)
    here = log_prob(fitted(x), new)
    there = log_prob(fitted(x * unit), new * unit)
    torch.testing.assert_close(there, here - math.log(unit), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_float32_holds_extreme_units(unit):
    x = drawn(st.norm(), 500, 4) * unit
    layer = Gaussianize(1).initialise(x.float())
    u, log_det = layer.inverse(x.float())
    exact, exact_log_det = fitted(x).inverse(x)
    torch.testing.assert_close(u.double(), exact, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(log_det.double(), exact_log_det, rtol=1e-3, atol=1e-3)


def test_a_constant_column_is_shifted():
    x = torch.full((20, 1), 7.5, dtype=torch.float64)
    u, log_det = fitted(x).inverse(torch.tensor([[7.5], [8.5], [1e9]], dtype=torch.float64))
    torch.testing.assert_close(u.flatten(), torch.tensor([0.0, 1.0, 1e9 - 7.5], dtype=torch.float64))
    torch.testing.assert_close(log_det, torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 9, 12])
def test_a_few_rows_give_a_density_that_is_finite_everywhere(rows):
    layer = fitted(drawn(st.norm(), rows, 6))
    x = torch.tensor([[-1e10], [-3.0], [0.0], [2.0], [1e10]], dtype=torch.float64)
    assert log_prob(layer, x).isfinite().all()


def test_ties_make_no_spike_that_new_rows_miss():
    """Whole numbers, and a column with two fifths at one value: the fit beside the best normal density."""
    generator = torch.Generator().manual_seed(0)
    for rows in (60, 1000, 20_000):
        whole = (torch.randn(rows, 1, generator=generator).double() * 3).round()
        spiked = torch.randn(rows, 1, generator=generator).double().exp()
        spiked = torch.where(torch.rand(rows, 1, generator=generator).double() < 0.4, 0.0, spiked)
        x = torch.cat([whole, spiked], -1)
        layer = fitted(x[: rows // 2])
        found = log_prob(layer, x[rows // 2 :])
        normal = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x[rows // 2 :])
        assert bool((found.mean(0) > normal.mean(0) - 0.1).all())
        # A density may be high where values repeat, but not by ties alone without end.
        assert float(found.max()) < 10
        smooth = torch.linspace(-4, 4, 501, dtype=torch.float64).reshape(-1, 1).expand(-1, 2)
        assert log_prob(layer, smooth).isfinite().all()


def test_missing_values_are_left_out_column_by_column():
    x = drawn(st.norm(), 600, 7).reshape(300, 2)
    holed = x.clone()
    holed[::3, 0] = math.nan
    holed[5, 1] = math.inf
    layer = fitted(holed)
    torch.testing.assert_close(layer.xs[0], fitted(x[holed[:, 0].isfinite(), :1]).xs[0])
    torch.testing.assert_close(layer.xs[1], fitted(x[holed[:, 1].isfinite(), 1:]).xs[0])
    u, log_slope = layer.elementwise(holed[:6])
    assert u.isnan().sum() == 2
    assert not u[1:3].isnan().any()
    assert u[5, 1] == math.inf
    assert log_slope.isfinite()[~holed[:6].isnan()].all()


@pytest.mark.parametrize("share", [0.01, 0.4, 0.99, 1.0])
def test_values_at_a_bound_leave_the_others_their_density(share):
    x = drawn(st.expon(), 1000, 9)
    at = torch.arange(1000) < 1000 * share
    x[at] = 0.0
    layer = fitted(x, low=[0.0])
    new = drawn(st.expon(), 1000, 10)
    assert log_prob(layer, x).isfinite().all()
    assert log_prob(layer, new).isfinite().all()
    if share < 0.9:
        assert float(log_prob(layer, new).mean()) > -1.02


def test_values_out_of_bounds_have_no_density():
    x = drawn(st.beta(1, 1), 400, 8)
    flow = Flow(StandardNormal(1), fitted(x, low=[0.0], high=[1.0])).double()
    at = torch.tensor([[-0.1], [0.0], [0.5], [1.0], [1.1], [math.nan], [math.inf]], dtype=torch.float64)
    found = flow.log_prob(at)
    assert found[[0, 4, 6]].tolist() == [-math.inf] * 3
    assert found[[1, 2, 3]].isfinite().all()
    assert found[5].isnan()
    draws = flow.sample((10_000,), generator=torch.Generator().manual_seed(0))
    assert bool(((draws >= 0) & (draws <= 1)).all())


@pytest.mark.parametrize(
    ("low", "high", "law"),
    [(0.0, None, st.expon()), (None, 3.0, st.uniform(2, 1)), (0.0, 1.0, st.beta(0.5, 0.5))],
)
def test_a_known_bound_is_worth_something(low, high, law):
    assert gap(law, 1000, low=[low], high=[high]) < gap(law, 1000) - 0.002


def test_it_trains_within_a_flow_and_comes_back_from_a_file(tmp_path):
    x = torch.tensor(st.t(2).rvs(size=(400, 3), random_state=0)).float()
    flow = RealNVP(3, couplings=2, hidden=(8,)).then(Gaussianize(3))
    diffeo.fit(flow, x, config=TrainConfig(max_steps=5))
    assert bool(flow.bijection.bijections[-1].initialised)
    save(flow, tmp_path / "flow.safetensors")
    assert torch.equal(load(tmp_path / "flow.safetensors").log_prob(x), flow.log_prob(x))
    assert flow.log_prob(torch.full((1, 3), 1e30)).isfinite().all()


def test_before_it_is_initialised_it_is_the_identity():
    x = torch.tensor([[-1e5, -1.3, 0.2, 2.7]])
    u, log_det = Gaussianize(4).inverse(x)
    torch.testing.assert_close(u, x)
    torch.testing.assert_close(log_det, torch.zeros(1))


def test_many_rows_are_read_in_part():
    x = torch.randn(300_000, 1, generator=torch.Generator().manual_seed(0))
    u, _ = Gaussianize(1).initialise(x).inverse(x)
    assert abs(float(u.mean())) < 0.01
    assert abs(float(u.std()) - 1) < 0.01


def test_what_cannot_be_used_is_named():
    with pytest.raises(ConfigError, match="one entry, a number or None, for each of 2 columns"):
        Gaussianize(2, low=[0.0])
    with pytest.raises(ConfigError, match=r"low\[1\]=2.0 must be below high\[1\]=1.0"):
        Gaussianize(2, low=[0.0, 2.0], high=[None, 1.0])
    with pytest.raises(ConfigError, match=r"high\[0\]"):
        Gaussianize(1, high=["a"])
    with pytest.raises(ConfigError, match="knots"):
        Gaussianize(1, knots=1)
    with pytest.raises(DataError, match="column 1 of x has no finite value"):
        Gaussianize(2).initialise(torch.tensor([[0.0, math.nan]]))
    with pytest.raises(ShapeError):
        Gaussianize(2).initialise(torch.zeros(4, 3))
