"""The continuous layer: its value and log-determinant, its two traces, what it says of a solve."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp

from diffeo.bijections import Continuous, SolverInfo
from diffeo.bijections.rounding import predicted_error
from diffeo.conditioners.velocity import SMOOTH, Velocity
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def rows(count, features, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator, dtype=torch.float64)


def made(features=3, context=0, gain=1.0, **settings):
    options = {"hidden": (8,), "rtol": 1e-10, "atol": 1e-10, **settings}
    return stress(Continuous(features, context=context, **options).double(), gain)


class Linear(torch.nn.Module):
    """v = A(t) x + c with A(t) = A (1 + t): exp(3/2 A) in closed form, where c is 0."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix)

    def with_divergence(self, t, x, context, directions):
        pushed = directions @ self.matrix.T * (1 + t.unsqueeze(-1))
        return (x @ self.matrix.T) * (1 + t), (pushed * directions).sum((-1, -2))


@pytest.mark.parametrize("activation", sorted(SMOOTH))
def test_the_divergence_is_the_trace_of_autograds_jacobian(activation):
    v = stress(Velocity(3, (7, 5), 2, activation).double(), 2.0)
    t, x, given = torch.rand(4, 1, dtype=torch.float64), rows(4, 3), rows(4, 2)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda t, x, c: v(t[None], x[None], c[None])[0], 1))
    found = v.with_divergence(t, x, given, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert torch.equal(found[0], v(t, x, given))
    trace = jacobian(t, x, given).diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(found[1], trace, rtol=1e-12, atol=1e-12)
    signs = torch.randint(2, (4, 1, 3)).double() * 2 - 1
    along = torch.einsum("ni,nij,nj->n", signs[:, 0], jacobian(t, x, given), signs[:, 0])
    torch.testing.assert_close(v.with_divergence(t, x, given, signs)[1], along, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", [{}, {"solver": "rk4", "steps": 100}])
def test_a_linear_velocity_has_the_matrix_exponential(solver):
    layer = made(**solver)
    layer.velocity = Linear(0.7 * rows(3, 3))
    x, log_det = layer(rows(5, 3))
    matrix = layer.velocity.matrix.detach()
    close = {"rtol": 1e-8, "atol": 1e-8}
    torch.testing.assert_close(x, rows(5, 3) @ torch.matrix_exp(1.5 * matrix).T, **close)
    torch.testing.assert_close(log_det, (1.5 * matrix.trace()).expand(5), **close)
    z, back = layer.inverse(x)
    torch.testing.assert_close(z, rows(5, 3), **close)
    torch.testing.assert_close(back, -log_det, **close)


@torch.no_grad()
def test_a_solve_is_scipys():
    layer, z, given = made(2, 1, 2.0), rows(3, 2), rows(3, 1)
    x, log_det = layer(z, given)
    eye = torch.eye(2, dtype=torch.float64)[None]
    for k in range(3):

        def field(t, y, k=k):
            at = torch.from_numpy(y[None, :2])
            time = torch.full((1, 1), t, dtype=torch.float64)
            v, divergence = layer.velocity.with_divergence(time, at, given[k : k + 1], eye)
            return torch.cat([v[0], divergence]).numpy()

        end = solve_ivp(field, (0.0, 1.0), [*z[k], 0.0], method="DOP853", rtol=1e-11, atol=1e-11).y[:, -1]
        found = torch.cat([x[k], log_det[k : k + 1]])
        torch.testing.assert_close(found, torch.from_numpy(end), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("inverse", [False, True])
def test_the_log_determinant_is_autograds(inverse):
    layer, start, given = made(3, 2), rows(4, 3), rows(4, 2)
    move = layer.inverse if inverse else layer
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row, c: move(row, c)[0]))(start, given)
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(move(start, given)[1], log_det, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_error_of_rk4_falls_with_its_fourth_power():
    exact, z = made(2, rtol=1e-13, atol=1e-13), rows(20, 2)
    x, log_det = exact(z)
    errors = []
    for steps in (16, 32, 64):
        layer = made(2, solver="rk4", steps=steps)
        layer.load_state_dict(exact.state_dict())
        found, other = layer(z)
        errors.append(max((found - x).abs().max(), (other - log_det).abs().max()))
    assert [math.log2(errors[k] / errors[k + 1]) for k in (0, 1)] == pytest.approx([4.0, 4.0], abs=0.4)


def test_hutchinson_is_unbiased_in_training_and_exact_in_evaluation():
    exact, z = made(3), rows(1, 3)
    layer = made(3, trace="hutchinson", rtol=1e-6, atol=1e-6)
    layer.load_state_dict(exact.state_dict())
    torch.testing.assert_close(layer.eval().inverse(z)[1], exact.inverse(z)[1], rtol=1e-5, atol=1e-5)
    layer.train()
    weight = layer.velocity.layers[0].weight
    many = z.expand(20_000, 3)
    found = layer.inverse(many)[1]
    (slope,) = torch.autograd.grad(found.mean(), weight)
    (wanted_slope,) = torch.autograd.grad(exact.inverse(z)[1].sum(), exact.velocity.layers[0].weight)
    error = found.std().item() / math.sqrt(len(many))
    assert 1e-4 < error < 0.05
    assert abs(found.mean() - exact.inverse(z)[1]).item() <= 4 * error
    # A row's estimate has a spread of about its own size, and so has its gradient.
    torch.testing.assert_close(slope, wanted_slope, rtol=0.1, atol=0.1 * wanted_slope.abs().max().item())
    assert not torch.equal(layer.inverse(z)[1], layer.inverse(z)[1])
    # One feature leaves nothing to chance.
    single = made(1, trace="hutchinson").train()
    assert torch.equal(single(rows(3, 1))[1], single.eval()(rows(3, 1))[1])


@torch.no_grad()
def test_a_solve_says_what_it_took():
    layer, x = made(2, gain=4.0), rows(40, 2)
    z, log_det, info = layer.inverse_with_info(x)
    assert isinstance(info, SolverInfo)
    assert torch.equal(z, layer.inverse(x)[0])
    assert torch.equal(log_det, layer.inverse(x)[1])
    assert info.finished.all()
    assert info.evaluations.shape == (40,)
    assert (info.evaluations % 6 == 2).all()
    assert len(info.evaluations.unique()) > 1
    assert layer.forward_with_info(x[:1])[2].evaluations.min() > 20
    assert made(2, solver="rk4", steps=7).forward_with_info(x)[2].evaluations.tolist() == [28] * 40
    coarse = made(2, gain=4.0, rtol=1e-3, atol=1e-3)
    assert coarse.inverse_with_info(x)[2].evaluations.sum() < info.evaluations.sum() / 3


@torch.no_grad()
def test_a_row_that_needs_too_many_steps_is_nan_and_said():
    hasty, layer, x = made(2, gain=16.0, max_steps=12), made(2, gain=16.0), rows(40, 2)
    hasty.load_state_dict(layer.state_dict())
    z, log_det, info = hasty.inverse_with_info(x)
    assert not info.finished.any()
    assert z.isnan().all()
    assert log_det.isnan().all()
    hostile = torch.tensor(
        [[torch.nan, 0.0], [torch.inf, 0.0], [1e200, 0.0], [0.5, 0.5]], dtype=torch.float64
    )
    z, _, info = layer.inverse_with_info(hostile)
    assert info.finished.tolist() == [False, True, True, True]
    assert z[0].isnan().all()
    assert z[1:3, 0].tolist() == [torch.inf, 1e200]
    assert torch.equal(z[3:], layer.inverse(hostile[3:])[0])


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_predicted_error_knows_the_tolerance(dtype):
    z = rows(30, 2).to(dtype)
    for tolerance in (1e-3, 1e-5):
        layer = made(2, gain=2.0, rtol=tolerance, atol=tolerance).to(dtype)
        error = (layer.inverse(layer(z)[0])[0] - z).norm(dim=-1)
        predicted = predicted_error(layer, z)
        assert (predicted >= tolerance).all()
        assert (error <= 10 * predicted).all()
        assert predicted.median() <= 1e3 * error.median()


@pytest.mark.parametrize("make", [lambda **s: made(2, **s), lambda **s: made(2, solver="rk4", **s)])
def test_a_sample_and_its_density_come_from_one_solve(make):
    layer = make()
    flow = Flow(StandardNormal(2).double(), layer)
    times = []
    layer.velocity.register_forward_hook(lambda *_: pytest.fail("v was asked for without its divergence"))
    inner = layer.velocity.with_divergence

    def counted(t, *rest):
        times.append(len(t))
        return inner(t, *rest)

    layer.velocity.with_divergence = counted
    generator = torch.Generator().manual_seed(3)
    x, log_prob = flow.sample_and_log_prob((9,), generator=generator)
    z = flow.base.sample((9,), generator=generator.manual_seed(3))
    taken = len(times)
    info = layer.forward_with_info(z)[2]
    assert taken == info.evaluations.max()
    del layer.velocity.with_divergence
    torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=1e-4, atol=1e-4)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="solver='euler' is not known"):
        Continuous(2, solver="euler")
    with pytest.raises(ConfigError, match=r"trace='hutchison' is not known.*Did you mean 'hutchinson'"):
        Continuous(2, trace="hutchison")
    with pytest.raises(ConfigError, match="trained_by='luck' is not known"):
        Continuous(2, trained_by="luck")
    with pytest.raises(ConfigError, match="rtol=0 must be a finite number above 0"):
        Continuous(2, rtol=0)
    with pytest.raises(ConfigError, match="steps=0 must be a whole number"):
        Continuous(2, steps=0)
    with pytest.raises(ConfigError, match="activation='relu' is not known"):
        Continuous(2, activation="relu")
    with pytest.raises(ShapeError, match="context is missing"):
        Continuous(2, context=1)(torch.ones(3, 2))
