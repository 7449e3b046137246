"""Bijections of the circle: rotations, raw angles, and the checks that measure along it."""

import math

import pytest
import torch

import diffeo
from diffeo.bijections import Chain, CircularShift, Inverse, Scale, Wrap
from diffeo.conditioners import MLP
from diffeo.diagnostics import checks
from diffeo.distributions import Uniform, VonMises
from diffeo.errors import ConfigError
from diffeo.flows import Flow

TURN = 2 * math.pi


def angles(rows=400, features=2):
    generator = torch.Generator().manual_seed(0)
    return math.pi * (2 * torch.rand(rows, features, generator=generator, dtype=torch.float64) - 1)


def rotation(*phase):
    layer = CircularShift(len(phase)).double()
    layer.phase.data.copy_(torch.tensor(phase, dtype=torch.float64))
    return layer


def test_a_rotation_adds_its_phase():
    z, phase = angles(), torch.tensor([1.0, -2.5], dtype=torch.float64)
    x, log_det = rotation(1.0, -2.5)(z)
    unit = torch.polar(torch.ones_like(z), z + phase)
    torch.testing.assert_close(torch.polar(torch.ones_like(x), x), unit, rtol=0, atol=1e-14)
    assert (x.abs() <= math.pi).all()
    assert not log_det.any()


def test_a_phase_of_many_turns_is_that_of_none():
    z = angles()
    many, none = rotation(1.0 + 8 * TURN, 2.0)(z)[0], rotation(1.0, 2.0)(z)[0]
    torch.testing.assert_close(many, none, rtol=0, atol=1e-13)


def test_start_is_added():
    z = angles()
    torch.testing.assert_close(CircularShift(2, start=1.5)(z)[0], rotation(1.5, 1.5)(z)[0])


def test_what_is_outside_stays_outside():
    layer = rotation(1.0, -2.5)
    z = angles() + TURN * torch.tensor([1.0, -3.0], dtype=torch.float64)
    x, _ = layer(z)
    assert (x.abs() > math.pi).all()
    torch.testing.assert_close(layer.inverse(x)[0], z, rtol=0, atol=1e-13)
    flow = Flow(Uniform(2, low=-math.pi, high=math.pi).double(), layer)
    assert (flow.log_prob(z) == -math.inf).all()
    assert flow.log_prob(angles()).isfinite().all()


def test_the_context_may_say_the_phase():
    network = MLP(0, 2, n_params=1, hidden=(8,), context=3)
    layer = CircularShift(2, conditioner=network).double()
    torch.nn.init.normal_(network.layers[-1].weight, std=0.5)
    context = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)).double()
    x, log_det = layer(angles(), context)
    phase = network(x[:, :0], context).squeeze(-1)
    torch.testing.assert_close(torch.cos(x), torch.cos(angles() + phase), rtol=0, atol=1e-13)
    assert x.shape == (400, 2)
    assert log_det.shape == (400,)


def test_continuity_is_judged_along_the_circle():
    for layer in (rotation(1.0, -2.5), Inverse(rotation(0.3, 3.0)), Chain(rotation(1.0, 2.0), Wrap())):
        for inverse in (False, True):
            assert checks.continuous(layer, angles(), inverse=inverse).ok
            assert checks.round_trip(layer, angles(), inverse=inverse).ok
        assert diffeo.verify(layer, angles()).ok


class Torn(CircularShift):
    """Adds φ to half of the circle only: its two cuts are no way round."""

    def forward(self, z, context=None):
        x, log_det = super().forward(z)
        return torch.where(z > 0.7, x, z), log_det


def test_a_jump_that_is_no_turn_is_found():
    layer = Torn(2).double()
    layer.phase.data.fill_(0.5)
    figure = checks.continuous(layer, angles())
    assert not figure.ok
    assert figure.worst == pytest.approx(0.5, abs=1e-6)


def test_circles_are_those_of_both_ends():
    assert rotation(1.0).circles == (TURN, TURN)
    assert Scale(2).circles == (None, None)
    assert Chain(rotation(1.0), Wrap(0, 360)).circles == (TURN, 360.0)
    assert Chain(rotation(1.0), Scale(1)).circles == (TURN, None)
    assert Inverse(Wrap(0, 360)).circles == (360.0, TURN)


def test_wrap_is_the_identity_on_the_circle():
    z = angles()
    for direction in (Wrap().forward, Wrap().inverse):
        value, log_det = direction(z)
        assert torch.equal(value, z)
        assert not log_det.any()


def test_wrap_reads_raw_angles():
    raw = torch.tensor([[370.0], [-350.0], [10.0], [730.0]], dtype=torch.float64)
    flow = Flow(VonMises(1), Wrap(low=0, high=360)).double()
    density = flow.log_prob(raw)
    torch.testing.assert_close(density, density[:1].expand(4), rtol=0, atol=1e-12)
    # Per degree: VonMises' density at 10° − 180° of its circle, divided by 180 / π.
    wanted = VonMises(1).double().log_prob(torch.tensor([[math.radians(-170.0)]]).double())
    torch.testing.assert_close(density[:1], wanted - math.log(180 / math.pi))
    draws = flow.sample((1000,))
    assert ((draws >= 0) & (draws <= 360)).all()
    assert checks.mass(flow).ok


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_angle_has_no_density(bad):
    flow = Flow(VonMises(1), Wrap())
    assert flow.log_prob(torch.tensor([[bad], [0.0]])).isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Wrap(low=1.0, high=1.0), "low=1.0 must be below high=1.0"),
        (lambda: CircularShift(0), "features"),
        (lambda: CircularShift(1, bound=0.0), "bound"),
        (lambda: CircularShift(1, conditioner="m"), "conditioner"),
        (lambda: CircularShift(2, conditioner=MLP(0, 1, 1, context=2)), r"expected \(0, 2, 1\)"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
