"""Flow matching: its minimiser, what it trains, what fit does with it, and the density that comes out."""

import math

import pytest
import torch

from diffeo import flows
from diffeo.bijections import Affine, Chain, Continuous, Standardize
from diffeo.distributions import DiagonalNormal, StandardNormal, Uniform
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.objectives import Batch, FlowMatching, MaximumLikelihood, objective_for
from diffeo.toys import TOYS
from diffeo.training import TrainConfig, fit


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


class Given(torch.nn.Module):
    """A velocity that is a function of (t, x), with one parameter added to it."""

    def __init__(self, function):
        super().__init__()
        self.function, self.shift = function, torch.nn.Parameter(torch.zeros(2))
        self.seen = []

    def forward(self, t, x, context=None):
        self.seen.append((t, x, context))
        return self.function(t, x) + self.shift


def with_velocity(function, sigma=0.0, base=None):
    layer = Continuous(2)
    layer.velocity = Given(function)
    return Flow(base or StandardNormal(2), layer), layer.velocity


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_the_closed_form_velocity_is_the_minimiser_between_normals(sigma):
    """From N(0, I) to N(m, s²) the mean velocity is m + ((s² t − (1 − σ)(1 − (1 − σ) t)) / w²)(x − t m).

    w² = s² t² + (1 − (1 − σ) t)² is the variance at time t; the loss there is Var(x₁ − (1 − σ) x₀ | x_t).
    """
    m, s, k = torch.tensor([2.0, -1.0]), 0.5, 1 - sigma
    x = m + s * torch.randn(200_000, 2)

    def best(t, at):
        variance = s**2 * t**2 + (1 - k * t) ** 2
        return m + (s**2 * t - k * (1 - k * t)) / variance * (at - t * m)

    flow, velocity = with_velocity(best)
    loss = FlowMatching(sigma).loss(flow, Batch(x))
    t = (torch.arange(10_000) + 0.5) / 10_000
    cross = (s**2 * t - k * (1 - k * t)) ** 2 / (s**2 * t**2 + (1 - k * t) ** 2)
    floor = 2 * (s**2 + k**2 - cross).mean().item()
    assert loss.item() == pytest.approx(floor, rel=0.01)
    # A minimum: no gradient, and a step to either side is worse by its square.
    (slope,) = torch.autograd.grad(loss, velocity.shift)
    assert slope.abs().max() <= 0.02
    for step in (0.2, -0.2):
        worse, _ = with_velocity(lambda t, at, step=step: best(t, at) + step * torch.tensor([1.0, 0.0]))
        assert FlowMatching(sigma).loss(worse, Batch(x)).item() == pytest.approx(floor + 0.04, rel=0.01)


def test_a_network_finds_the_velocity_between_normals():
    flow = flows.FlowMatching(1, hidden=(32, 32))
    x = 1 + 0.5 * torch.randn(4000, 1)
    fit(flow, x, config=TrainConfig(max_steps=600, batch_size=256, learning_rate=1e-2, evaluate_every=600))
    t = torch.rand(500, 1)
    variance = 0.25 * t**2 + (1 - t) ** 2
    at = t + variance.sqrt() * torch.randn(500, 1)
    best = 1 + (0.25 * t - (1 - t)) / variance * (at - t)
    off = (flow.bijection.velocity(t, at) - best).square().mean().detach()
    assert off <= 0.015
    assert best.var() >= 0.3


def test_times_are_uniform_and_noise_is_the_bases():
    flow, velocity = with_velocity(lambda t, x: 0 * x, base=Uniform(2, low=3.0, high=5.0))
    FlowMatching().loss(flow, Batch(torch.zeros(4000, 2)))
    t, at, _ = velocity.seen[0]
    part = t[:, 0].sort().values * 4000 - torch.arange(4000)  # one time in each of 4000 parts
    assert part.min() >= -1e-3
    assert part.max() <= 1 + 1e-3
    assert part.var() == pytest.approx(1 / 12, abs=0.01)
    assert not torch.equal(t[:, 0].argsort(), torch.arange(4000))
    start = at / (1 - t)
    assert 3 - 1e-4 <= start.min() < 3.01 < 4.99 < start.max() <= 5 + 1e-4


def test_layers_on_both_sides_bring_the_ends_to_the_velocity():
    inner, outer, layer = Affine(2), Affine(2), Continuous(2)
    with torch.no_grad():
        for part in (inner, outer):
            for parameter in part.parameters():
                parameter.copy_(torch.randn(2))
    layer.velocity = Given(lambda t, x: 0 * x)
    base = DiagonalNormal(2)
    flow = Flow(base, Chain(inner, layer)).then(outer)
    x = torch.randn(3000, 2)
    FlowMatching().loss(flow, Batch(x)).backward()
    t, at, _ = layer.velocity.seen[0]
    near_end, near_start = t[:, 0] > 0.999, t[:, 0] < 0.001
    torch.testing.assert_close(at[near_end], outer.inverse(x)[0].detach()[near_end], rtol=0, atol=0.02)
    assert near_start.any()
    moved, _ = inner(base.sample((3000,)))
    early = (t < 0.2).expand_as(at)
    spread = at[early].reshape(-1, 2).std(0) / moved.detach().std(0)
    assert (spread < 1.6).all()
    assert all(p.grad is None for part in (inner, outer, base) for p in part.parameters())
    assert layer.velocity.shift.grad is not None


def test_context_reaches_the_velocity():
    draws = torch.Generator().manual_seed(0)
    context = torch.randn(3000, 1, generator=draws)
    x = 0.3 * torch.randn(3000, 2, generator=draws) + 2 * context
    flow = flows.FlowMatching(2, context=1, hidden=(48, 48)).then(Standardize(2))
    config = TrainConfig(max_steps=600, batch_size=256, learning_rate=1e-2, evaluate_every=600)
    fit(flow, x, context=context, config=config)
    found = flow.sample((2000,), torch.tensor([1.0]), generator=torch.Generator().manual_seed(0))
    assert found.mean(0).tolist() == pytest.approx([2.0, 2.0], abs=0.15)
    assert found.std(0).tolist() == pytest.approx([0.3, 0.3], abs=0.15)


def test_matching_moons_brings_the_exact_density_near_the_entropy():
    toy = TOYS["moons"]
    flow = flows.FlowMatching(2, hidden=(64, 64, 64)).then(Standardize(2))
    config = TrainConfig(max_steps=1500, batch_size=256, learning_rate=5e-3, evaluate_every=500)
    result = fit(flow, toy.sample(4000, seed=0), config=config)
    nats = -flow.log_prob(toy.sample(2000, seed=1)).detach()
    error = float(nats.std()) / math.sqrt(len(nats))
    assert toy.entropy - 4 * error <= float(nats.mean()) <= toy.entropy + 0.15
    # Held-out rows are measured in nats, the steps in squared distance.
    assert result.best_held_out_nats == pytest.approx(float(nats.mean()), abs=0.2)
    assert result.unit == "squared distance per row"
    assert result.history[-1].train_nats > 2.0
    assert "squared distance per row at the end" in str(result)
    assert result.plot().figure.axes[-1].get_ylabel() == "training (squared distance per row)"


def test_fit_matches_where_the_flow_asks_for_it():
    assert objective_for(flows.FlowMatching(2).then(Standardize(2))) == FlowMatching()
    assert objective_for(flows.CNF(2)) == objective_for(flows.FFJORD(2)) == MaximumLikelihood()
    x = torch.randn(200, 2)
    config = TrainConfig(max_steps=3, device="cpu")
    for flow, solves in ((flows.FlowMatching(2, hidden=(4,)), False), (flows.CNF(2, hidden=(4,)), True)):
        asked = []
        inner = flow.bijection.velocity.with_divergence
        flow.bijection.velocity.with_divergence = lambda *a, f=inner, n=asked: (n.append(1), f(*a))[1]
        result = fit(flow, x, validation=None, config=config)
        assert bool(asked) is solves
        assert result.steps == 3
    # And it can be told otherwise.
    flow = flows.FlowMatching(2, hidden=(4,))
    result = fit(flow, x, config=config, objective=MaximumLikelihood())
    assert result.unit == "nats per row"


def test_held_out_nats_are_looked_at_less_often():
    x = torch.randn(200, 2)
    config = TrainConfig(max_steps=500)
    result = fit(flows.FlowMatching(2, hidden=(4,)), x, config=config)
    assert [row.step for row in result.history] == [0, 250, 500]
    config = TrainConfig(max_steps=60, evaluate_every=30)
    result = fit(flows.FlowMatching(2, hidden=(4,)), x, config=config)
    assert [row.step for row in result.history] == [0, 30, 60]


def test_the_same_seed_matches_to_the_same_bits():
    x, weights = torch.randn(200, 2), []
    for _ in range(2):
        torch.manual_seed(1)
        flow = flows.FlowMatching(2, hidden=(4,))
        torch.rand(len(weights) + 1)
        fit(flow, x, config=TrainConfig(max_steps=40))
        weights.append(flow.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_flows_that_cannot_be_matched_are_told_why():
    batch = Batch(torch.randn(8, 2))
    with pytest.raises(ConfigError, match="flow has 0 Continuous layers; expected one"):
        FlowMatching().loss(flows.RealNVP(2), batch)
    with pytest.raises(ConfigError, match="flow has 2 Continuous layers"):
        FlowMatching().loss(flows.FFJORD(2, blocks=2), batch)
    with pytest.raises(ConfigError, match="sigma=1 must be a finite number"):
        FlowMatching(sigma=1)
