"""Every named flow, trained for a moment, is a density: its mass is one, and its samples follow it."""

import functools
import math
import runpy
import warnings
from pathlib import Path

import pytest
import torch
from scipy.stats import ks_2samp

from diffeo import flows
from diffeo.bijections.rounding import predicted_error
from diffeo.diagnostics import checks
from diffeo.testing.cases.named_flows import SMALL
from diffeo.toys import TOYS

SETTINGS = {
    **SMALL,
    "NICE": {"couplings": 4, "hidden": (12,)},
    "RealNVP": {"couplings": 4, "hidden": (12,)},
}

#: Evaluations of a quadrature: splines have kinks, which it has to find.
NODES = 1_500_000

#: Draws of a sampler; where each is a search, some thousand tell enough.
DRAWS = {"GF": 2000, "NAF": 2000, "SOSPF": 2000, "UNAF": 1000}

#: p-values of some hundred tests: one below this would be no chance.
LEAST = 1e-4

named = pytest.mark.parametrize(("name", "features"), [(name, d) for name in SETTINGS for d in (1, 2)])


def data(name, features):
    """Return rows of moons (in one dimension, of its first margin), away from where bases are.

    A density of angles is given them drawn together, within the circle.
    """
    x = TOYS["moons"].sample(512, seed=0)[:, :features] + 1.0
    return 0.7 * x if name == "NCSF" else x


@functools.cache
@torch.enable_grad()
def trained(name, features):
    """Return the flow after sixty steps, float64."""
    x = data(name, features)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # Some say that one feature leaves them nothing to condition on.
        warnings.filterwarnings("ignore", message=".*nothing to condition on", category=UserWarning)
        torch.manual_seed(0)
        flow = getattr(flows, name)(features, **SETTINGS[name]).initialise(x).train()
    adam = torch.optim.Adam(flow.parameters(), lr=0.01)
    for k in range(60):
        adam.zero_grad()
        loss = -flow.log_prob(x[k % 4 * 128 :][:128]).mean()
        loss.backward()
        adam.step()
    return flow.eval().double()


def alike(found, wanted):
    """Return the smallest p-value of two-sample tests of the features, and of how they go together."""
    views = [found.T, wanted.T]
    if found.shape[-1] == 2:
        views = [torch.cat([view, view.prod(0)[None], view.sum(0)[None]]) for view in views]
    return min(ks_2samp(a.numpy(), b.numpy()).pvalue for a, b in zip(*views, strict=True))


def test_no_named_flow_is_forgotten():
    # Those that solve an equation are held to the same there, with fewer nodes and draws.
    solved = runpy.run_path(str(Path(__file__).with_name("test_continuous_flows.py")))["SOLVED"]
    assert sorted([*SETTINGS, *solved]) == sorted(set(flows.__all__) - {"Flow", "GivenFlow"})


@named
def test_it_has_learnt_something(name, features):
    flow, x = trained(name, features), data(name, features).double()
    assert flow.log_prob(x).mean() > flow.base.log_prob(x).mean() + 0.1


@named
def test_the_mass_is_one(name, features):
    figure = checks.mass(trained(name, features), limit=1e-3, most=NODES)
    assert figure.ok, figure
    assert figure.tested == 1, figure


@named
def test_samples_follow_the_density(name, features):
    flow, draws = trained(name, features), DRAWS.get(name, 5000)
    figure = checks.sampler_matches_density(flow, draws=draws, most=NODES)
    assert figure.ok, figure
    assert figure.tested == draws, figure
    assert checks.sample_log_prob(flow, draws=64).ok


@named
@torch.no_grad()
def test_what_follows_the_density_is_the_base_in_noise(name, features):
    flow, generator = trained(name, features), torch.Generator().manual_seed(1)
    count = DRAWS.get(name, 5000)
    base = flow.base.sample((count,), generator=generator)
    assert alike(flow.encode(flow.sample((count,), generator=generator)), base) >= LEAST
    # Draws of p that no sampler made: those of a Cauchy density, kept with a chance in proportion to p.
    wide = torch.empty(60_000, features, dtype=torch.float64).cauchy_(0.0, 1.5, generator=generator)
    wide_log_prob = -torch.log(math.pi * 1.5 * (1 + (wide / 1.5).square())).sum(-1)
    ratio = flow.log_prob(wide) - wide_log_prob
    chance = torch.rand(len(wide), generator=generator, dtype=torch.float64).log()
    kept = wide[chance < ratio - ratio.amax()]
    assert len(kept) > 500
    assert alike(flow.encode(kept), base) >= LEAST


@named
@torch.no_grad()
def test_rows_come_back(name, features):
    flow = trained(name, features)
    noise = torch.randn(16, features, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = torch.cat([data(name, features)[:64].double(), 3 * noise])
    off = (flow.decode(flow.encode(x)) - x).abs().amax(-1)
    assert (off[:64] <= 1e-9).all()
    # Far from its rows a flow may be in bad condition; then that is predicted.
    assert (off <= predicted_error(flow.bijection, x, inverse=True).clamp(min=1e-9)).all()


@torch.no_grad()
def test_a_sampler_that_leaves_its_density_would_show():
    flow = trained("MAF", 2)
    generator = torch.Generator().manual_seed(2)
    base = flow.base.sample((5000,), generator=generator)
    assert alike(flow.encode(1.1 * flow.sample((5000,), generator=generator)), base) < LEAST
