"""The solvers of differential equations, beside closed forms, scipy and torchdiffeq."""

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torchdiffeq import odeint

from diffeo.errors import ConfigError
from diffeo.kernels.solvers import dopri5, finest, rk4


def rows(count, width=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64)


def pendulum(s, y):
    """A swing with a push that varies in time: no closed form."""
    angle, speed = y[:, :1], y[:, 1:]
    return torch.cat([speed, -20 * torch.sin(angle) + torch.cos(7 * s)], -1)


def decay(s, y):
    """y(1) = y(0) exp(−sin 3)."""
    return -3 * y * torch.cos(3 * s)


def solve(field, y, tolerance=1e-10, max_steps=2000):
    return dopri5(field, y, tolerance, tolerance, max_steps)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10, 1e-13])
def test_dopri5_keeps_its_tolerance_beside_a_closed_form(tolerance):
    y = 3 * rows(50)
    error = (solve(decay, y, tolerance).value - y * math.exp(-math.sin(3.0))).abs()
    assert (error <= 10 * tolerance * (1 + y.abs())).all()


def test_dopri5_is_scipys_and_torchdiffeqs_answer():
    y = 2 * rows(6)
    found = solve(pendulum, y, 1e-11).value
    peer = odeint(
        lambda s, y: pendulum(s.reshape(1, 1).expand(len(y), 1), y),
        y,
        torch.tensor([0.0, 1.0], dtype=torch.float64),
        rtol=1e-11,
        atol=1e-11,
        method="dopri5",
    )[-1]
    torch.testing.assert_close(found, peer, rtol=1e-9, atol=1e-9)
    for start, end in zip(y, found, strict=True):

        def field(s, y):
            return pendulum(torch.full((1, 1), s, dtype=torch.float64), torch.from_numpy(y)[None])[
                0
            ].numpy()

        wanted = solve_ivp(field, (0.0, 1.0), start.numpy(), method="DOP853", rtol=1e-12, atol=1e-12).y[
            :, -1
        ]
        torch.testing.assert_close(end, torch.from_numpy(wanted), rtol=1e-9, atol=1e-9)


def test_the_error_falls_with_the_orders_of_the_methods():
    y = rows(4)
    exact = solve(pendulum, y, 1e-13).value
    errors = [(rk4(pendulum, y, steps).value - exact).abs().max() for steps in (20, 40, 80)]
    orders = [math.log2(errors[k] / errors[k + 1]) for k in (0, 1)]
    assert orders == pytest.approx([4.0, 4.0], abs=0.25)
    # A step of a method of order 5 has an error of h⁶: the tolerance falls by 10⁵, the steps grow 10-fold.
    taken = [solve(pendulum, y, tolerance).evaluations.mean() for tolerance in (1e-6, 1e-11)]
    assert math.log10(taken[1] / taken[0]) == pytest.approx(1.0, abs=0.2)


def test_both_solvers_are_exact_for_the_polynomials_of_their_orders():
    y = rows(3)
    for order, solver in ((3, lambda f: rk4(f, y, 1)), (4, lambda f: dopri5(f, y, 1e9, 1e9, 1))):
        found = solver(lambda s, y, k=order: (k + 1) * s**k + 0 * y)
        assert found.finished.all()
        torch.testing.assert_close(found.value, y + 1, rtol=1e-14, atol=1e-14)


def test_every_row_has_its_own_steps_and_they_are_counted():
    stiff = torch.tensor([[0.0], [1.0], [30.0]], dtype=torch.float64)
    calls = []

    def field(s, y):
        calls.append(len(y))
        return torch.cat([torch.zeros_like(s), stiff[: len(y)] * torch.cos(stiff[: len(y)] * s)], -1)

    found = solve(field, torch.zeros(3, 2, dtype=torch.float64))
    assert found.evaluations.tolist() == sorted(found.evaluations.tolist())
    assert found.evaluations[0] == 2 + 6  # one step of a row that stands still
    assert len(calls) == found.evaluations[2] > 3 * found.evaluations[1]
    alone = solve(field, torch.zeros(2, 2, dtype=torch.float64))
    assert torch.equal(alone.value, found.value[:2])
    assert torch.equal(alone.evaluations, found.evaluations[:2])
    assert rk4(pendulum, rows(3), 5).evaluations.tolist() == [20, 20, 20]


@pytest.mark.parametrize(
    "field",
    [
        lambda s, y: y * torch.nan,
        lambda s, y: torch.where(s > 0.5, torch.nan, y),
        lambda s, y: torch.where(s > 0.5, torch.inf, y),
        lambda s, y: 1e3 * y.square() + 1,  # leaves for infinity before s = 1
        lambda s, y: 1e300 * y,
        lambda s, y: torch.sin(1e9 * (y + s)) * 1e9,
    ],
)
def test_a_row_that_cannot_arrive_neither_hangs_nor_disturbs(field):
    def mixed(s, y):
        return torch.cat([field(s[:1], y[:1]), decay(s[1:], y[1:])])

    y = rows(3).abs()
    calls = []
    found = dopri5(lambda s, y: (calls.append(1), mixed(s, y))[1], y, 1e-8, 1e-8, 300)
    assert not found.finished[0]
    assert found.finished[1:].all()
    assert torch.equal(found.value[1:], solve(decay, y[1:], 1e-8).value)
    assert len(calls) <= 2 + 6 * 300


def test_no_tolerance_is_too_fine():
    for dtype in (torch.float32, torch.float64):
        y = rows(5).to(dtype)
        found = dopri5(decay, y, 1e-30, 1e-30, 3000)
        assert found.finished.all()
        assert (found.value - y * math.exp(-math.sin(3.0))).abs().max() <= 10 * finest(dtype)


def test_derivatives_go_through_the_steps():
    y = rows(3).requires_grad_()
    rate = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    found = solve(lambda s, y: rate * s * y, y).value  # y exp(rate / 2)
    by_start, by_rate = torch.autograd.grad(found.sum(), (y, rate), create_graph=True)
    torch.testing.assert_close(by_start, torch.full_like(y, math.e), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_rate, (y * math.e / 2).sum(), rtol=1e-8, atol=1e-8)
    (second,) = torch.autograd.grad(by_rate, rate)
    torch.testing.assert_close(second, (y * math.e / 4).sum(), rtol=1e-7, atol=1e-7)
    assert torch.autograd.gradcheck(lambda y: rk4(pendulum, y, 5).value, rows(2).requires_grad_())


def test_vmap_sees_the_whole_batch_arrive():
    calls = []

    def end(y):
        return dopri5(lambda s, y: (calls.append(1), decay(s, y))[1], y[None], 1e-8, 1e-8, 5000).value[0]

    y = rows(4)
    torch.testing.assert_close(torch.vmap(end)(y), solve(decay, y, 1e-8).value, rtol=0, atol=0)
    assert len(calls) < 300
    slopes = torch.vmap(torch.func.jacrev(end))(y)
    torch.testing.assert_close(slopes, math.exp(-math.sin(3)) * torch.eye(2).double().expand(4, 2, 2))


def test_dopri5_says_why_it_is_no_graph():
    def run(y):
        return dopri5(decay, y, 1e-5, 1e-5, 100).value

    with pytest.raises((ConfigError, torch._dynamo.exc.TorchDynamoException), match="rk4"):
        torch.compile(run, fullgraph=True, backend="eager")(rows(2))
    torch.compiler.reset()
