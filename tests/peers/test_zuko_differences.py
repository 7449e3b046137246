"""Where flows of zuko 1.6 and ours with their weights differ, and which of the two is right."""

import math

import pytest
import torch

from diffeo.bijections import Chain
from diffeo.diagnostics import checks
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow

from .copying import Softclip, shaken
from .zuko_copies import FLOWS, autoregressive, rows


@pytest.mark.parametrize("name", ["SOSPF", "NAF", "UNAF"])
@torch.no_grad()
def test_beyond_its_box_zuko_returns_the_edge_and_ours_comes_back(name):
    make, law, options, gain = FLOWS[name]
    peer = shaken(make(2, transforms=1, hidden_features=(12, 24), **options), gain)
    own = autoregressive(peer, law, 2, 0)
    x = torch.tensor([[14.0, 1.0]], dtype=torch.float64)
    theirs = peer().transform
    assert float(theirs.inv(theirs(x))[0, 0]) == pytest.approx(10.0, abs=1e-5)
    torch.testing.assert_close(own.decode(own.encode(x)), x, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_at_the_edge_of_its_box_bpf_of_zuko_jumps_by_1e_5():
    make, law, options, gain = FLOWS["BPF"]
    peer = shaken(make(2, transforms=1, hidden_features=(12, 24), **options), gain)
    own = autoregressive(peer, law, 2, 0)
    x = torch.tensor([[-5.1, 0.0], [5.1, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(own.encode(x)[:, 0], x[:, 0], rtol=1e-12, atol=1e-12)
    off = peer().transform(x)[:, 0] - x[:, 0]
    torch.testing.assert_close(off, torch.tensor([-1e-5, 1e-5], dtype=torch.float64), rtol=1e-6, atol=0)


def square(count=421, reach=20.0):
    """Return the points of a grid on the plane, and the area of a cell."""
    line = torch.linspace(-reach, reach, count, dtype=torch.float64)
    return torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2


@torch.no_grad()
def test_likelihoods_of_naf_above_the_truth():
    """zuko's issue 55, or a cause of its symptom: points beside contexts, in shapes that broadcast.

    The slope is taken as the derivative of a sum over all contexts: each feature's is n times too steep for
    n alike contexts, and the mass is about n² where it should be 1. With a row of context for each point
    zuko's mass is 1, and so is ours in either way of calling.
    """
    make, law, options, gain = FLOWS["NAF"]
    peer = shaken(make(2, 3, transforms=1, hidden_features=(12, 24), **options), gain)
    own = autoregressive(peer, law, 2, 3)
    c = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64).expand(2, 3)
    x, area = square()
    x = x[:, None]  # (points, 1, 2) beside (2, 3)

    def mass(log_prob):
        return log_prob.exp().sum(0) * area

    one = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(mass(own.log_prob(x, c)), one, rtol=1e-3, atol=0)
    torch.testing.assert_close(mass(peer(c).log_prob(x.expand(-1, 2, 2))), one, rtol=1e-3, atol=0)
    torch.testing.assert_close(mass(peer(c).log_prob(x)), 4 * one, rtol=1e-3, atol=0)
    inside = (x.abs() < 12).all(-1).squeeze()
    off = (peer(c).log_prob(x) - own.log_prob(x, c))[inside]
    torch.testing.assert_close(off, torch.full_like(off, 2 * math.log(2)), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_between_layers_of_naf_mass_is_lost_to_the_softclip():
    """The other deviation is downwards: a layer sees (−11, 11) only, and need not map it onto ℝ."""
    make, law, options, gain = FLOWS["NAF"]
    peer = shaken(make(2, transforms=2, hidden_features=(12, 24), **options), 0.3 * gain)
    lossy = autoregressive(peer, law, 2, 0)
    layers = [layer for layer in lossy.bijection.bijections if not isinstance(layer, Softclip)]
    whole = Flow(StandardNormal(2), Chain(*layers))
    x, _ = rows(2, 0)
    torch.testing.assert_close(lossy.log_prob(x), peer().log_prob(x), rtol=1e-9, atol=1e-9)
    found = checks.mass(lossy, most=200_000)
    assert found.tested
    assert found.worst > 0.9
    assert checks.mass(whole, most=200_000).ok
