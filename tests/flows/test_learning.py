"""What a flow is for: a shape that no affine map of its base has."""

import math
import warnings

import pytest
import torch

from diffeo import flows
from diffeo.bijections import Autoregressive, Coupling, Mask
from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP, Transformer
from diffeo.laws import (
    Gaussianization,
    Inverted,
    LogisticMixture,
    MonotonicIntegral,
    SigmoidalFlow,
    SumOfSquares,
)
from diffeo.testing.cases.named_flows import SMALL

#: Where the smallest network, or the coarsest polynomial, has no room for two bumps.
ROOM = {"BPF": {"degree": 24}, "UNAF": {"units": 8}}

#: One feature is their base, moved and stretched: layers that are affine in it; or it is an angle.
OTHERS = {"Glow", "IAF", "MADE", "MAF", "NCSF"}


#: Laws of like components, and where those that must differ stand in θ.
LIKE = [
    (LogisticMixture(4), slice(4, 8)),
    (SigmoidalFlow(4), slice(8, 12)),
    (Gaussianization(4), slice(0, 4)),
    (MonotonicIntegral(4), slice(4, 8)),
    (SumOfSquares(3, 2), slice(2, 9, 3)),
    (Inverted(SigmoidalFlow(4)), slice(8, 12)),
]


def train(flow, x, lr):
    """Take two hundred steps of Adam towards maximum likelihood."""
    adam = torch.optim.Adam(flow.parameters(), lr=lr)
    for _ in range(200):
        adam.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        adam.step()


def bumps(rows, seed):
    """Return draws of two bumps of unequal weight, standardised."""
    generator = torch.Generator().manual_seed(seed)
    side = (torch.rand(rows, 1, generator=generator) < 0.4).float() * 2 - 1
    return side + 0.2 * torch.randn(rows, 1, generator=generator)


@pytest.mark.parametrize("name", sorted(SMALL.keys() - OTHERS))
def test_two_bumps_in_one_dimension_are_learnt(name):
    """The best normal needs 1.4 nats; the bumps have an entropy of 0.48."""
    x = bumps(1000, 0)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*nothing to condition on", category=UserWarning)
        torch.manual_seed(0)
        flow = getattr(flows, name)(1, **{**SMALL[name], **ROOM.get(name, {})}).train()
    train(flow, x, lr=0.02)
    held = -flow.eval().log_prob(bumps(1000, 1)).mean()
    assert held < 1.1


@pytest.mark.parametrize(("law", "like"), LIKE)
def test_components_that_begin_alike_would_stay_so(law, like):
    """A law's parameters begin apart wherever it adds up like components, in every structure."""
    mask = Mask.halves(4)
    layers = (
        Coupling(law, MLP(2, 2, law.n_params, hidden=(4,)), mask),
        Coupling(law, Transformer(2, 2, law.n_params, width=8, heads=1), mask),
        Autoregressive(law, MaskedMLP(4, law.n_params, hidden=(4,))),
        Autoregressive(law, MaskedMLP(4, law.n_params, hidden=())),
        Autoregressive(law, MaskedResidualMLP(4, law.n_params, width=4)),
    )
    for layer in layers:
        theta = layer.conditioner(torch.zeros(1, layer.conditioner.in_features)).flatten(0, -2)
        assert torch.equal(theta, torch.tensor(law.start).expand_as(theta))
        assert len(set(theta[0, like].tolist())) == len(theta[0, like])
        x, _ = layer(torch.linspace(-2, 2, 4))
        torch.testing.assert_close(x, torch.linspace(-2, 2, 4), rtol=0, atol=0.25)


def test_a_trained_network_keeps_its_weights():
    network = MLP(1, 1, SigmoidalFlow(4).n_params)
    with torch.no_grad():
        network.outlet().fill_(0.3)
    layer = Coupling(SigmoidalFlow(4), network, Mask.halves(2))
    assert (layer.conditioner.outlet() == 0.3).all()


@pytest.mark.parametrize("degrees", [2.0, 5.0])
def test_the_tails_of_ttf_are_those_that_it_declares(degrees):
    """d log p / d log x → −(1 + 1/λ): the splines below the tails have slope 1 far out."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, 1 + int(degrees), generator=generator)
    x = normal[:, :1] / normal[:, 1:].square().mean(-1, keepdim=True).sqrt()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = flows.TTF(1, **SMALL["TTF"]).train()
    train(flow, x, lr=0.01)
    flow = flow.eval().double()
    tails = flow.bijection.bijections[-1]
    theta = tails.conditioner(torch.zeros(0, dtype=torch.float64))
    shapes = tails.law.shapes(theta).detach().flatten()
    far = torch.tensor([[1e9], [1.001e9], [-1e9], [-1.001e9]], dtype=torch.float64)
    log_p = flow.log_prob(far).detach()
    for side, pair in enumerate((log_p[2:], log_p[:2])):
        exponent = float(pair[1] - pair[0]) / math.log(1.001)
        assert exponent == pytest.approx(-(1 + 1 / float(shapes[side])), rel=1e-3)
