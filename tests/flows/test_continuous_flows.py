"""Trained continuous flows are densities: mass one, and samples that follow them; their defaults."""

import pytest
import torch

from diffeo import flows
from diffeo.bijections import Standardize
from diffeo.diagnostics import checks
from diffeo.flows.flow import Flow
from diffeo.toys import TOYS
from diffeo.training import TrainConfig, fit

#: Flows that solve an equation: each row costs so much that they have quadratures of their own.
SOLVED = ("CNF", "FFJORD", "FlowMatching")

SMALL = {"hidden": (12,), "activation": "tanh"}


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def rows(features):
    """Two bumps on the line, moons on the plane."""
    if features == 2:
        return TOYS["moons"].sample(2000, seed=0)
    return 0.5 * torch.randn(2000, 1) + torch.where(torch.rand(2000, 1) < 0.4, -2.0, 1.0)


def trained(name, features):
    steps = 250 if name == "FlowMatching" else 40
    flow: Flow = getattr(flows, name)(features, **SMALL)
    x = rows(features)
    before = float(flow.then(Standardize(features).initialise(x)).log_prob(x).detach().mean())
    flow = flow.then(Standardize(features))
    config = TrainConfig(max_steps=steps, learning_rate=1e-2, batch_size=128, evaluate_every=steps)
    fit(flow, x, config=config)
    assert float(flow.log_prob(x).detach().mean()) > before + 0.05
    return flow


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("name", SOLVED)
def test_a_trained_flow_has_mass_one_and_samples_that_follow_it(name, features):
    flow = trained(name, features)
    mass = checks.mass(flow, limit=1e-3, most=15_000)
    assert mass.tested == 1, mass
    assert mass.ok, mass
    follows = checks.sampler_matches_density(flow, draws=5_000, most=15_000)
    assert follows.tested, follows
    assert follows.ok, follows
    said = checks.sample_log_prob(flow, draws=256)
    assert said.ok, said


def test_the_defaults_are_as_their_docstrings_say():
    ffjord, cnf, matching = flows.FFJORD(2), flows.CNF(2), flows.FlowMatching(2)
    assert (ffjord.bijection.trace, cnf.bijection.trace, matching.bijection.trace) == (
        "hutchinson",
        "exact",
        "exact",
    )
    assert [f.bijection.trained_by for f in (ffjord, cnf, matching)] == [
        "likelihood",
        "likelihood",
        "matching",
    ]
    assert {(f.bijection.solver, f.bijection.rtol, f.bijection.atol) for f in (ffjord, cnf, matching)} == {
        ("dopri5", 1e-5, 1e-5)
    }
    assert len(flows.FFJORD(2, blocks=3).bijection.bijections) == 3
    for flow in (ffjord, cnf, matching):
        assert flow.bijection.inverse_with_info(torch.zeros(3, 2))[2].evaluations.tolist() == [8, 8, 8]
