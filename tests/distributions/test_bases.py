"""Learnable bases: their formulas against scipy's and torch's, their samples, gradients and starts."""

import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from diffeo.bijections import Affine, Standardize
from diffeo.conditioners import MLP
from diffeo.distributions import (
    ConditionalNormal,
    FullNormal,
    Mixture,
    Resampled,
    StandardNormal,
    StudentT,
    VonMises,
)
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.flows import Flow
from diffeo.testing import stress
from diffeo.testing.state import torch_state
from diffeo.training import TrainConfig, fit

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


@torch.no_grad()
def lively(base, seed=0):
    base = base.double()
    for k, parameter in enumerate(base.parameters()):
        parameter.add_(0.4 * normal(*parameter.shape, seed=seed + k))
    return base.eval()


MAKERS = {
    "FullNormal": lambda: FullNormal(3),
    "StudentT": lambda: StudentT(3, df=4.0),
    "Mixture": lambda: Mixture(3, components=4),
    "VonMises": lambda: VonMises(3, concentration=2.0),
    "Resampled": lambda: Resampled(3, hidden=(6,), truncation=5, nodes=64),
    "ConditionalNormal": lambda: ConditionalNormal(3, 2, hidden=(6,)),
}


def made(name, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lively(MAKERS[name](), seed)


def given_for(base, rows):
    return normal(rows, 2, seed=9) if base.context_features else None


def matches(samples, cdf):
    """Whether samples pass the Kolmogorov–Smirnov test."""
    return stats.kstest(samples.detach().numpy(), cdf).pvalue > 1e-3


# -- formulas ------------------------------------------------------------------------------------


def test_full_normal_is_torchs():
    base = made("FullNormal")
    wanted = torch.distributions.MultivariateNormal(
        base.loc, precision_matrix=base.factor().T @ base.factor()
    )
    z = normal(20, 3)
    torch.testing.assert_close(base.log_prob(z), wanted.log_prob(z), **CLOSE)
    torch.testing.assert_close(base.covariance(), wanted.covariance_matrix, **CLOSE)


@pytest.mark.parametrize("df", [1.01, 3.0, 99.0])
def test_student_t_is_scipys(df):
    base = StudentT(2, df=df).double()
    z = torch.tensor([[0.0, 1e-8], [1.0, -30.0], [1e10, 1e100], [1e155, -1e200]], dtype=torch.float64)
    # Far out scipy's z² overflows: there the density is its power law to the last digit.
    log_constant = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi * df)
    wanted = [
        sum(
            stats.t.logpdf(v, df)
            if abs(v) < 1e8
            else log_constant - (df + 1) * (math.log(abs(v)) - 0.5 * math.log(df))
            for v in row
        )
        for row in z.tolist()
    ]
    torch.testing.assert_close(base.log_prob(z), torch.tensor(wanted, dtype=torch.float64), **CLOSE)


def test_student_t_stays_between_its_bounds():
    base = StudentT(1, df=5.0, least=2.0, most=9.0)
    for raw, bound in ((-1e4, 2.0), (0.0, 5.0), (1e4, 9.0)):
        torch.nn.init.constant_(base.raw_df, raw)
        assert base.df.item() == pytest.approx(bound, rel=1e-6)


def test_mixture_is_torchs():
    base = made("Mixture")
    td = torch.distributions
    parts = td.Independent(td.Normal(base.loc, base.log_scale.exp()), 1)
    wanted = td.MixtureSameFamily(td.Categorical(logits=base.logits), parts)
    z = 2 * normal(20, 3)
    torch.testing.assert_close(base.log_prob(z), wanted.log_prob(z), **CLOSE)


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 40.0, 1000.0])
def test_von_mises_is_scipys(kappa):
    base = VonMises(1, concentration=kappa).double()
    torch.nn.init.constant_(base.loc, 0.7)
    z = torch.linspace(-math.pi, math.pi, 41, dtype=torch.float64)[:, None]
    # scipy's own constant, log I₀ = log i0e + κ, without its cancellation.
    wanted = kappa * (np.cos(z.numpy()[:, 0] - 0.7) - 1) - math.log(2 * math.pi * stats_i0e(kappa))
    torch.testing.assert_close(base.log_prob(z), torch.from_numpy(wanted), rtol=1e-10, atol=1e-10)
    if kappa < 100:
        np.testing.assert_allclose(wanted, stats.vonmises.logpdf(z.numpy()[:, 0], kappa, 0.7), atol=1e-10)
    assert base.log_prob(torch.tensor([[3.2]], dtype=torch.float64)).item() == -math.inf


def stats_i0e(kappa):
    """e^(−κ) I₀(κ) = E[exp(κ (cos θ − 1))], θ uniform, by quadrature."""
    ends = [0.0, min(10 / math.sqrt(kappa), math.pi), math.pi]
    pieces = [
        integrate.quad(lambda t: math.exp(kappa * (math.cos(t) - 1)), a, b, epsabs=0, epsrel=1e-13)[0]
        for a, b in itertools.pairwise(ends)
        if a < b
    ]
    return sum(pieces) / math.pi


def test_conditional_normal_is_the_normal_that_its_network_says():
    base, c, z = made("ConditionalNormal"), normal(5, 2), normal(4, 5, 3)
    theta = base.conditioner(c.new_zeros(5, 0), c)
    scale = (2.0 * torch.tanh(theta[..., 1] / 2.0)).exp()
    wanted = torch.distributions.Normal(theta[..., 0], scale).log_prob(z).sum(-1)
    torch.testing.assert_close(base.log_prob(z, c), wanted, **CLOSE)
    assert isinstance(base.conditioner, MLP)
    images = ConditionalNormal((1, 2, 3), 2).double()
    assert images.log_prob(images.sample((4, 5), c), c).shape == (4, 5)


def test_resampled_is_the_published_formula():
    base, z = made("Resampled"), normal(30, 3)
    accepted, value = base.log_acceptance(z).exp(), base.normaliser().value
    alpha = (1 - value) ** (base.truncation - 1)
    wanted = torch.log((1 - alpha) * accepted / value + alpha) + StandardNormal(3).double().log_prob(z)
    torch.testing.assert_close(base.log_prob(z), wanted, **CLOSE)


@pytest.mark.parametrize("steepness", [2.0, 10.0, 32.0])
@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_the_grid_knows_the_normaliser_to_a_millionth(steepness, gain):
    base = stress(Resampled(1, hidden=(8, 8), steepness=steepness).double(), gain, seed=3)
    accepted, density = base.log_acceptance, torch.distributions.Normal(0.0, 1.0).log_prob

    def integrand(t):
        z = torch.tensor(t, dtype=torch.float64)
        return float((accepted(z[None]) + density(z)).exp())

    with torch.no_grad():
        wanted = sum(integrate.quad(integrand, a, a + 1, epsabs=1e-11)[0] for a in range(-9, 9))
    assert base.normaliser().value.item() == pytest.approx(wanted, abs=1e-6)


def test_the_logit_is_no_steeper_than_it_says():
    base = stress(Resampled(2, hidden=(8, 8), steepness=3.0).double(), 16.0, seed=1)
    z = (2 * normal(200, 2)).requires_grad_()
    accepted = base.log_acceptance(z)
    logit = accepted - torch.log(-torch.expm1(accepted))
    (slope,) = torch.autograd.grad(logit.sum(), z)
    assert slope.norm(dim=-1).max().item() <= 3.0


def test_the_standard_error_of_sobol_nodes_is_honest():
    base = stress(Resampled(4, hidden=(8,), nodes=1024, steepness=4.0).double(), seed=2)
    found = base.normaliser()
    draws = base.log_acceptance(normal(400_000, 4, seed=5)).exp()
    far = abs(found.value.item() - draws.mean().item())
    assert 0 < found.standard_error.item() < 0.01
    assert far < 4 * math.hypot(found.standard_error.item(), draws.std().item() / math.sqrt(len(draws)))


# -- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_samples_have_the_shape_and_repeat_with_their_generator(name):
    base = made(name)
    c = given_for(base, 5)
    before = torch.get_rng_state()
    first, again = (base.sample((2, 5), c, generator=generator(4)) for _ in range(2))
    assert first.shape == (2, 5, 3)
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    assert base.sample((0,), None if c is None else c[0]).shape == (0, 3)


@pytest.mark.parametrize("df", [1.01, 2.5, 50.0])
def test_student_t_draws_follow_it(df):
    draws = StudentT(1, df=df).double().sample((20_000,), generator=generator())[:, 0]
    assert matches(draws, stats.t(df).cdf)


@pytest.mark.parametrize("kappa", [1e-3, 1.0, 50.0, 1000.0])
def test_von_mises_draws_follow_it(kappa):
    base = VonMises(1, concentration=kappa).double()
    draws = base.sample((20_000,), generator=generator(1))[:, 0]
    assert matches(draws, stats.vonmises(kappa).cdf)
    torch.nn.init.constant_(base.loc, 3.0)
    turned = base.sample((20_000,), generator=generator(1))[:, 0]
    assert turned.abs().max().item() <= math.pi
    back = torch.remainder(turned - 3.0 + math.pi, 2 * math.pi) - math.pi
    torch.testing.assert_close(back, draws)


def test_mixture_draws_follow_it():
    base = lively(Mixture(1, components=3))
    torch.nn.init.normal_(base.loc, std=3.0, generator=generator(2))
    weights, scales = base.logits.softmax(0), base.log_scale.exp()

    def cdf(x):
        parts = stats.norm.cdf(x[:, None], base.loc.detach().numpy()[:, 0], scales.detach().numpy()[:, 0])
        return parts @ weights.detach().numpy()

    assert matches(base.sample((20_000,), generator=generator())[:, 0], cdf)


def test_full_and_conditional_normal_draws_become_standard_noise():
    base = made("FullNormal")
    noise = (base.sample((20_000,), generator=generator()) - base.loc) @ base.factor().T
    assert matches(noise.flatten(), stats.norm.cdf)
    given = made("ConditionalNormal")
    c = normal(2, seed=1)
    theta = given.conditioner(c.new_zeros(0), c)
    draws = given.sample((20_000,), c, generator=generator())
    noise = (draws - theta[:, 0]) / (2.0 * torch.tanh(theta[:, 1] / 2.0)).exp()
    assert matches(noise.flatten(), stats.norm.cdf)


@pytest.mark.parametrize("truncation", [1, 2, 50])
def test_resampled_draws_follow_it(truncation):
    base = stress(Resampled(1, hidden=(8,), truncation=truncation, steepness=6.0).double(), seed=4)
    with torch.no_grad():
        grid = torch.linspace(-8, 8, 8001, dtype=torch.float64)
        density = base.log_prob(grid[:, None]).exp()
        mass = torch.cumulative_trapezoid(density, grid)
        assert mass[-1].item() == pytest.approx(1.0, abs=1e-6)
        draws = base.sample((20_000,), generator=generator())[:, 0]
    assert matches(draws, lambda x: np.interp(x, grid[1:].numpy(), mass.numpy()))


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_of_log_prob_are_finite_differences(name):
    base = made(name)
    c, z = given_for(base, 4), normal(4, 3, seed=2).requires_grad_()
    names = [key for key, _ in base.named_parameters()]

    def function(value, *parameters):
        return torch.func.functional_call(base, dict(zip(names, parameters, strict=True)), (value, c))

    assert torch.autograd.gradcheck(function, (z, *base.parameters()))


def test_draws_of_student_t_are_differentiable_in_df():
    base = StudentT(2, df=3.0).double()

    def draws(raw):
        return torch.func.functional_call(Drawn(base), {"base.raw_df": raw}, ())

    assert torch.autograd.gradcheck(draws, (base.raw_df.detach().requires_grad_(),))


class Drawn(torch.nn.Module):
    def __init__(self, base):
        super().__init__()
        self.base = base

    def forward(self):
        return self.base.sample((5,), generator=generator(3))


@pytest.mark.parametrize("kappa", [0.05, 2.0, 300.0])
def test_draws_of_von_mises_are_differentiable_in_its_concentration(kappa):
    base = VonMises(1, concentration=kappa).double()
    draws = base.sample((9,), generator=generator(6))[:, 0]
    wanted = []
    step = 1e-4 * kappa
    for z in draws.tolist():
        # The same quantile of the densities on both sides of κ: z′ = −(∂F/∂κ) / p.
        slope = (quantile_of(z, kappa + step) - quantile_of(z, kappa - step)) / (2 * step)
        wanted.append(-slope / math.exp(stats.vonmises.logpdf(z, kappa)))
    raw = base.raw_log_concentration  # ∂κ/∂raw = κ at the start
    found = [torch.autograd.grad(z, raw, retain_graph=True)[0].item() / kappa for z in draws]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)


def quantile_of(z, kappa):
    """F(z) − ½ by quadrature."""
    constant = 2 * math.pi * stats_i0e(kappa)
    return integrate.quad(lambda t: math.exp(kappa * (math.cos(t) - 1)), 0, z, epsrel=1e-12)[0] / constant


def test_draws_of_a_mixture_carry_gradients_to_its_components_alone():
    base = made("Mixture")
    base.sample((50,), generator=generator()).sum().backward()
    assert float(base.loc.grad.sum()) == pytest.approx(150.0)
    assert bool(base.raw_log_scale.grad.any())
    assert base.logits.grad is None


# -- starts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["FullNormal", "Resampled", "ConditionalNormal"])
def test_it_starts_at_the_standard_normal(name):
    base, z = MAKERS[name]().double(), 2 * normal(9, 3)
    c = given_for(base, 9)
    torch.testing.assert_close(
        base.log_prob(z, c), StandardNormal(3).double().log_prob(z), rtol=0, atol=1e-6
    )


def clusters(rows=400):
    centres = 8 * torch.eye(3, dtype=torch.float64)
    return centres[torch.arange(rows) % 3] + 0.3 * normal(rows, 3, seed=3)


def test_k_means_places_the_components_on_the_clusters():
    base, x = Mixture(3, components=3).double(), clusters()
    # scikit-learn imports rich, which on its first import draws from Python's own random state.
    importlib.import_module("sklearn.cluster")
    before, state = base.log_prob(x).mean(), torch_state()
    base.initialise(x)
    assert torch_state() == state
    assert float((base.log_prob(x).mean() - before).detach()) > 20
    order = base.loc.argmax(-1).argsort()
    torch.testing.assert_close(base.loc[order], 8 * torch.eye(3, dtype=torch.float64), rtol=0, atol=0.1)
    kept = base.loc.clone()
    assert torch.equal(base.initialise(x + 5).loc, kept)  # once


def test_a_flow_shows_its_base_the_data_through_the_bijection():
    flow = Flow(Mixture(3, components=3), Standardize(3)).double()
    x = 1000 + 50 * clusters()
    flow.initialise(x)
    z = flow.encode(x)
    distance = (z.unsqueeze(1) - flow.base.loc).norm(dim=-1).amin(1)
    assert distance.max().item() < 0.5
    assert flow.base.get_buffer("initialised").item()


def test_fit_places_them_too():
    flow, x = Flow(Mixture(3, components=3), Affine(3)), clusters().float()
    fit(flow, x, config=TrainConfig(max_steps=1), progress=False)
    assert float(flow.log_prob(x).mean().detach()) > -3


@pytest.mark.parametrize("rows", [torch.zeros(5, 3), torch.eye(3)[:2], 1e-30 * torch.eye(3)])
def test_few_or_equal_rows_are_enough_for_a_start(rows):
    base = Mixture(3, components=4)
    assert bool(base.initialise(rows).log_prob(rows).isfinite().all())


def test_no_row_of_numbers_is_told():
    with pytest.raises(DataError, match=r"no row of finite numbers.*complete rows"):
        Mixture(3).initialise(torch.tensor([[1.0, 2.0, math.nan]] * 2))


# -- extremes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MAKERS)
def test_far_out_a_row_keeps_its_gradients_finite_and_never_a_plausible_density(name, dtype):
    base = made(name).to(dtype)
    far = (1e3, 1e10, 1e18, 1e30, 3e38, math.inf, -math.inf, math.nan)
    z = torch.zeros(len(far), 3, dtype=dtype)
    z[:, 1] = torch.tensor(far, dtype=dtype)
    z.requires_grad_()
    c = torch.zeros(2, dtype=dtype) if base.context_features else None
    log_prob = base.log_prob(z, c)
    assert log_prob[-1].isnan()
    assert bool((log_prob[-3:-1] == -math.inf).all())
    assert bool((log_prob[1:-1] <= log_prob[:-2]).all())
    assert log_prob[0].item() < -10
    leaves = [z, *base.parameters()]
    masked = torch.where(torch.arange(len(far)) == 0, log_prob, 0.0).sum()
    grads = torch.autograd.grad(masked, leaves, allow_unused=True)
    alone = torch.autograd.grad(base.log_prob(z[:1], c).sum(), leaves, allow_unused=True)
    for grad, wanted in zip(grads, alone, strict=True):
        if grad is not None:
            torch.testing.assert_close(grad, wanted)


def test_student_t_is_finite_at_the_ends_of_float32():
    base = StudentT(1)
    z = torch.tensor([[1e30], [-1e30], [3e38]], requires_grad=True)
    base.log_prob(z).sum().backward()
    torch.testing.assert_close(z.grad[0].item(), -6.0 / 1e30)
    torch.testing.assert_close(z.grad[1].item(), 6.0 / 1e30)
    assert bool(base.raw_df.grad.isfinite().all())


# -- messages ------------------------------------------------------------------------------------


def test_a_missing_context_is_told():
    base = ConditionalNormal(3, context=2)
    assert Flow(base, Affine(3)).context_features == 2
    with pytest.raises(ShapeError, match=r"context is missing.*Pass context"):
        base.log_prob(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match=r"context is missing"):
        base.sample((4,))
    with pytest.raises(ShapeError, match=r"batch shape \(5,\) beside data of batch shape \(4,\)"):
        base.log_prob(torch.zeros(4, 3), torch.zeros(5, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FullNormal(0), "features=0 must be"),
        (lambda: StudentT(1, df=200.0), r"df=200.0 must be above least=1.0 and below most=100.0"),
        (lambda: StudentT(1, least=0.1), "least=0.1 must be a finite number of at least 0.5"),
        (lambda: Mixture(2, components=0), "components=0 must be"),
        (lambda: Mixture(2, seed=-1), "seed=-1 must be"),
        (lambda: VonMises(1, concentration=0.0), "concentration=0.0 must be"),
        (lambda: Resampled(2, truncation=0), "truncation=0 must be"),
        (lambda: Resampled(2, steepness=100.0), "steepness=100.0 must be"),
        (lambda: Resampled(2, hidden="wide"), "hidden='wide' must be"),
        (lambda: Resampled(30_000), "features=30000 must be"),
        (lambda: ConditionalNormal(2, 0), "context=0 must be"),
        (lambda: ConditionalNormal(2, 1, bound=0.0), "bound=0.0 must be"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
