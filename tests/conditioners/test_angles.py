"""Conditioners that see angles: the same parameters a turn later, and no dependence that is forbidden."""

import math

import pytest
import torch

from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP, ResidualMLP
from diffeo.errors import ConfigError
from diffeo.testing import stress

TURN = 2 * math.pi

CONDITIONERS = {
    "MLP": lambda period: MLP(3, 3, 2, hidden=(8,), context=1, period=period),
    "ResidualMLP": lambda period: ResidualMLP(3, 3, 2, width=8, context=1, period=period),
    "MaskedMLP": lambda period: MaskedMLP(3, 2, hidden=(8, 8), context=1, period=period),
    "MaskedMLP, narrow": lambda period: MaskedMLP(3, 2, hidden=(1,), context=1, period=period),
    "MaskedResidualMLP": lambda period: MaskedResidualMLP(3, 2, width=8, context=1, period=period),
}


def lively(name, period):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return stress(CONDITIONERS[name](period)).double()


def rows(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(20, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("period", [TURN, 1.5, 360.0])
@pytest.mark.parametrize("name", CONDITIONERS)
def test_parameters_are_the_same_a_turn_later(name, period):
    net = lively(name, period)
    x, c = rows()
    turns = period * torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(net(x + turns, c), net(x, c), rtol=0, atol=1e-10)
    assert (net(x + 0.3 * period, c) - net(x, c)).abs().max() > 1e-3
    plain = lively(name, None)
    assert (plain(x + turns, c) - plain(x, c)).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["MaskedMLP", "MaskedMLP, narrow", "MaskedResidualMLP"])
def test_an_angle_is_seen_by_those_after_it_alone(name):
    net = lively(name, TURN)
    x, c = rows()
    slopes = torch.autograd.functional.jacobian(lambda at: net(at, c).sum((0, -1)), x)
    seen = slopes.abs().amax(1) > 0
    assert torch.equal(seen, torch.ones(3, 3, dtype=torch.bool).tril(-1))


@pytest.mark.parametrize("make", CONDITIONERS.values(), ids=CONDITIONERS)
def test_what_is_refused(make):
    with pytest.raises(ConfigError, match=r"period=0\.0"):
        make(0.0)
