"""Each check fails where it must, passes where it must, and says so."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Cauchy, Independent, MixtureSameFamily, Normal

from diffeo.bijections import (
    Affine,
    Bijection,
    Chain,
    Coupling,
    Identity,
    Inverse,
    Log,
    Logit,
    Mask,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.bijections.rounding import TRUST, predicted_error
from diffeo.conditioners import MLP
from diffeo.diagnostics import checks
from diffeo.diagnostics.checks.determinant import log_abs_det
from diffeo.diagnostics.checks.quadrature import integrate
from diffeo.distributions import StandardLogistic, StandardNormal, Uniform, Wrapped
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.laws import Additive, Law
from diffeo.laws import Affine as AffineLaw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randomised(module, gain=1.0, seed=0):
    source = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter.shape[1] if parameter.ndim == 2 else 16
            parameter.copy_(torch.randn(parameter.shape, generator=source) * gain / fan**0.5)
    return module.eval()


def units(features, seed):
    """Return rows whose columns have very different sizes and are far from zero."""
    source = generator(seed)
    noise = torch.randn(100, features, generator=source) @ torch.randn(features, features, generator=source)
    return noise * 10 ** (torch.rand(features, generator=source) * 6 - 3) + 100


# -- the predicted round-trip error ------------------------------------------------------------------

STRESSED = {
    "NICE": lambda g, s: randomised(NICE(3, hidden=(32, 32)), g, s).bijection,
    "RealNVP": lambda g, s: randomised(RealNVP(2, hidden=(32, 32)), g, s).bijection,
    "Inverse of RealNVP in units": lambda g, s: Inverse(
        randomised(RealNVP(2, hidden=(32, 32), couplings=4), g, s)
        .then(Standardize(2).initialise(units(2, s)))
        .bijection
    ),
    "Whiten": lambda g, s: Chain(randomised(Affine(3), g, s), Whiten(3).initialise(units(3, s))),
    "Inverse of Whiten": lambda g, s: Inverse(Whiten(3).initialise(units(3, s))),
    "Logit": lambda g, s: Chain(randomised(Affine(2), g, s), Logit()),
    "Log": lambda g, s: Chain(randomised(Affine(2), g, s), Log(5.0)),
}


@pytest.mark.parametrize("name", STRESSED)
@pytest.mark.parametrize("gain", [1, 2, 4, 16])
def test_predicted_errors_are_sound(name, gain):
    for seed in range(2):
        for dtype in (torch.float32, torch.float64):
            bijection = STRESSED[name](gain, seed).to(dtype)
            z = torch.randn(
                50, 3 if name in ("NICE", "Whiten", "Inverse of Whiten") else 2, generator=generator(seed)
            )
            z = z.to(dtype)
            x = bijection(z)[0].detach()
            for inverse, value in ((False, z), (True, x)):
                figure = checks.round_trip_against_prediction(bijection, value, inverse=inverse)
                assert figure.ok, figure


@pytest.mark.parametrize("layer", [Log(), Logit()])
def test_saturation_is_predicted(layer):
    z = torch.tensor([[200.0], [-200.0], [1.0]])
    error = predicted_error(layer, z)
    assert (error[:2] > TRUST).all()
    assert error[2] < TRUST


def test_round_trip_counts_rows_that_do_not_come_back():
    figure = checks.round_trip(Log(), torch.tensor([[200.0], [1.0]]), limit=math.inf)
    assert (figure.failed, figure.tested) == (1, 2)
    assert "1 of 2 rows do not come back finite" in figure.detail


# -- determinants ------------------------------------------------------------------------------------


def test_log_abs_det_of_steep_triangles_is_exact():
    steep = torch.tensor([[[1.0, 0.0, 0.0], [1e12, 2.0, 0.0], [-1e20, 1e15, 3.0]]], dtype=torch.float64)
    assert log_abs_det(steep)[0].item() == pytest.approx(math.log(6), abs=1e-14)
    matrices = torch.randn(20, 5, 5, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(log_abs_det(matrices), torch.linalg.slogdet(matrices).logabsdet)
    assert log_abs_det(torch.zeros(1, 2, 2))[0] == -math.inf
    assert log_abs_det(torch.full((1, 2, 2), math.nan))[0].isnan()


@pytest.mark.parametrize("gain", [1, 4, 16])
def test_determinants_of_stressed_flows(gain):
    bijection = randomised(RealNVP(5, hidden=(32, 32)), gain).bijection.double()
    z = torch.randn(20, 5, generator=generator(), dtype=torch.float64)
    x = bijection(z)[0].detach()
    for inverse, value in ((False, z), (True, x)):
        figure = checks.log_det_matches_autograd(bijection, value, inverse=inverse)
        assert figure.ok, figure
        assert figure.tested == 20
        figure = checks.log_det_matches_autograd(bijection, value.float(), inverse=inverse)
        assert figure.ok, figure


# -- laws --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Liar(Law):
    """An affine law that promises slopes up to 2 and is not the identity at zero."""

    n_params = 2

    def forward(self, u, theta):
        return u * theta[..., 0].exp() + theta[..., 1] + 1e-3, theta[..., 0]

    def inverse(self, v, theta):
        return (v - theta[..., 1] - 1e-3) * (-theta[..., 0]).exp(), -theta[..., 0]

    def slope_bounds(self):
        return 0.5, 2.0


@pytest.mark.parametrize("law", [Additive(), AffineLaw(), AffineLaw(0.5), AffineLaw(20)])
def test_laws_keep_their_promises(law):
    u = torch.randn(30, 2, generator=generator(), dtype=torch.float64)
    theta = torch.randn(30, 2 * law.n_params, generator=generator(1), dtype=torch.float64)
    steered = checks.Steered(law, 2)
    assert checks.slope_bounds(law, 20_000).ok
    assert checks.slope_bounds(law, 20_000, dtype=torch.float32).ok
    assert checks.identity_at_zero(law, u).ok
    assert checks.identity_at_zero(law, u.float()).ok
    for inverse in (False, True):
        assert checks.round_trip(steered, u, theta, inverse=inverse).ok
        assert checks.log_det_matches_autograd(steered, u, theta, inverse=inverse).ok
        assert checks.row_isolation(steered, u[:4].float(), theta[:4].float(), inverse=inverse).ok
        figure = checks.gradcheck(steered, u[:3], theta[:3], inverse=inverse, second=True, every_mode=True)
        assert figure.ok, figure
        assert figure.tested == 2


def test_a_lying_law_is_caught():
    slopes = checks.slope_bounds(Liar(), 5000)
    assert slopes.failed > 1000
    assert slopes.worst > 1
    identity = checks.identity_at_zero(Liar(), torch.ones(3, 2))
    assert (identity.failed, identity.worst) == (6, pytest.approx(1e-3, rel=1e-3))


def test_identity_at_zero_of_couplings():
    coupling = randomised(Coupling(AffineLaw(), MLP(1, 2, 2, hidden=(8,)), Mask.halves(3)))
    x = torch.randn(10, 3, generator=generator())
    assert checks.identity_at_zero(coupling, x).ok
    assert not checks.identity_at_zero(coupling, x, zero=False).ok
    assert checks.identity_at_zero(RealNVP(3, hidden=(8,), batch_norm=False).bijection, x, zero=False).ok


# -- gradients ---------------------------------------------------------------------------------------


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        return z**3

    @staticmethod
    def backward(ctx, grad):
        return grad


class Cube(Bijection):
    """z³ + z, whose cube has the gradient of z; values and claimed determinants are right."""

    def forward(self, z, context=None):
        return WrongGradient.apply(z) + z, torch.log1p(3 * z.square()).sum(-1)


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_catches_what_is_cut_off_from_autograd(fast):
    class Cut(Affine):
        def forward(self, z, context=None):
            x, log_det = super().forward(z)
            return x, log_det.detach()

    z = torch.ones(2, 3, dtype=torch.float64)
    figure = checks.gradcheck(randomised(Cut(3)), z, fast=fast)
    assert not figure.ok
    assert "first derivatives" in figure.detail
    assert checks.gradcheck(randomised(Affine(3)), z, fast=fast).ok


def test_gradcheck_catches_a_wrong_gradient():
    z = torch.randn(6, 2, generator=generator())
    figure = checks.gradcheck(Cube(), z)
    assert (figure.ok, figure.tested) == (False, 1)
    assert "Jacobian mismatch" in figure.detail


class Detached(nn.Module):
    def forward(self, z):
        return z.detach() * 2, torch.full(z.shape[:-1], 2 * math.log(2.0), dtype=z.dtype)


def test_a_missing_gradient_is_named():
    figure = checks.gradients_finite(Detached(), torch.ones(3, 2))
    assert not figure.ok
    assert "no connection" in figure.detail


class Steps(nn.Module):
    """Quantised to thousandths."""

    def forward(self, z):
        return torch.round(z * 1000) / 1000 + 0 * z, z.new_zeros(z.shape[:-1])


def test_small_jumps_are_found():
    figure = checks.continuous(Steps(), torch.randn(16, 2, generator=generator()))
    assert figure.failed == 16
    assert figure.worst == pytest.approx(1e-3)


# -- mass and samples --------------------------------------------------------------------------------

MODES = MixtureSameFamily(
    Categorical(torch.ones(3)),
    Independent(Normal(torch.tensor([[-1e3], [0.0], [5e3]]), torch.tensor([[0.01], [1.0], [10.0]])), 1),
)

DENSITIES = {
    "normal": lambda: Flow(StandardNormal(1), Scale(1)),
    "uniform": lambda: Flow(Uniform(1), Scale(1)),
    "Cauchy": lambda: Flow(Wrapped(Independent(Cauchy(torch.zeros(1), 1.0), 1)), Scale(1)),
    "narrow modes far apart": lambda: Flow(Wrapped(MODES), Scale(1)),
    "box": lambda: Flow(Uniform(2), Whiten(2).initialise(units(2, 0))),
    "logit": lambda: Flow(StandardLogistic(2), Logit()),
    "RealNVP": lambda: randomised(RealNVP(2, hidden=(16,), couplings=4)),
}


@pytest.mark.parametrize("name", DENSITIES)
def test_mass_is_one_and_samples_follow(name):
    flow = DENSITIES[name]()
    found = checks.mass(flow)
    assert found.ok, found
    assert found.tested == 1
    assert checks.sample_log_prob(flow).ok
    samples = checks.sampler_matches_density(flow, draws=5000)
    assert samples.ok, samples


class Wider(Flow):
    """Samples are spread by a tenth more than its density says."""

    def sample(self, shape=(), context=None, *, generator=None):
        return super().sample(shape, context, generator=generator) * 1.1


def test_a_wrong_sampler_is_caught():
    figure = checks.sampler_matches_density(Wider(StandardNormal(2), Scale(2)), draws=5000)
    assert not figure.ok
    assert figure.worst > 4


def test_mass_of_slices_given_a_context():
    flow = randomised(RealNVP(1 + 1, context=2, hidden=(8,), couplings=2))
    found = checks.mass(flow, torch.randn(3, 2, generator=generator()))
    assert found.ok, found
    assert found.tested == 3


def test_what_the_quadrature_cannot_resolve_is_not_judged():
    flow = randomised(RealNVP(2, hidden=(32, 32)), gain=4)
    found = checks.mass(flow, most=50_000)
    assert (found.tested, found.failed) == (0, 0)
    assert "too finely folded" in found.detail
    assert checks.mass(RealNVP(3, hidden=(8,), couplings=1).eval()).tested == 0


def test_quadrature_knows_its_error():
    draws = torch.randn(2000, 2, generator=generator(), dtype=torch.float64)

    def ridge(x):
        return Normal(0.0, 1.0).log_prob(x[:, 0]) + Normal(0.0, 0.02).log_prob(
            x[:, 1] - torch.sin(3 * x[:, 0])
        )

    on_ridge = torch.stack([draws[:, 0], torch.sin(3 * draws[:, 0]) + 0.02 * draws[:, 1]], -1)
    rough = integrate(ridge, on_ridge, tolerance=1e-6, most=20_000)
    assert abs(rough.total - 1) <= rough.doubt
    fine = integrate(ridge, on_ridge, tolerance=1e-4)
    assert fine.doubt <= 1e-4
    assert fine.total == pytest.approx(1, abs=1e-4)


# -- rows, cost, failures ------------------------------------------------------------------------------


def test_batch_invariance_is_measured():
    x = torch.randn(16, 3, generator=generator())
    flow = randomised(RealNVP(3, hidden=(16,), couplings=2))
    figure = checks.batch_invariance(flow, x)
    assert figure.ok, figure
    assert checks.batch_invariance(Scale(3), x.double()).worst == 0

    class Sized(Bijection):
        def forward(self, z, context=None):
            return z * (1 + 1e-3 * len(z)), z.new_zeros(z.shape[:-1])

    figure = checks.batch_invariance(Sized(), x, inverse=False)
    assert not figure.ok
    assert "differs by" in figure.detail


def test_row_isolation_of_flows_with_context():
    flow = randomised(RealNVP(2, context=2, hidden=(8,), couplings=2))
    x, context = torch.randn(4, 2, generator=generator()), torch.randn(4, 2, generator=generator(1))
    figure = checks.row_isolation(flow, x, context)
    assert figure.ok, figure
    assert figure.tested == 13 * 4
    assert checks.row_isolation(flow, x, context, together=True) == figure


def test_row_isolation_in_batches_finds_what_it_finds_one_by_one():
    class Poisoned(Bijection):
        """Its weight gathers 0 · ∞ from a masked row."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(2.0))

        def forward(self, z, context=None):
            return self.weight * z, self.weight.log().expand(z.shape).sum(-1)

    class Averaged(Bijection):
        def forward(self, z, context=None):
            return z - z.mean(0), z.new_zeros(z.shape[:-1])

    x = torch.randn(4, 2, generator=generator())
    for map_, least in ((Poisoned(), 6), (Averaged(), 20)):
        singly = checks.row_isolation(map_, x, inverse=False)
        together = checks.row_isolation(map_, x, inverse=False, together=True)
        assert singly.failed >= least, singly
        assert (together.failed, together.tested) == (singly.failed, singly.tested)
        assert together.detail == singly.detail


def test_cost_of_a_shared_matrix_is_no_matrix_for_every_row():
    class Mixing(Bijection):
        """Factorises one weight matrix, whatever the batch."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(6) + 0.1)

        def forward(self, z, context=None):
            return z @ self.weight, torch.linalg.slogdet(self.weight).logabsdet.expand(z.shape[:-1])

        def inverse(self, x, context=None):
            inverse = torch.linalg.inv(self.weight)
            return x @ inverse, torch.linalg.slogdet(inverse).logabsdet.expand(x.shape[:-1])

    assert checks.cost(Mixing(), torch.randn(30, 6, generator=generator())).ok


def test_checks_report_exceptions_and_name_the_layer():
    class Raises(Bijection):
        def forward(self, z, context=None):
            raise ZeroDivisionError("by design")

    figure = checks.round_trip(Chain(Identity(), Raises()), torch.ones(2, 2))
    assert (figure.ok, figure.layer) == (False, "1: Raises")
    assert "ZeroDivisionError: by design" in figure.detail
    figure = checks.gradients_finite(Inverse(Chain(Raises(), Identity())), torch.ones(2, 2), inverse=True)
    assert figure.layer == "1: Inverse"


def test_wall_clock_is_positive():
    own, full = checks.wall_clock(RealNVP(4, hidden=(8,), couplings=2).eval().bijection, torch.ones(5, 4))
    assert own > 0
    assert full > 0
