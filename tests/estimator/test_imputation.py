"""Imputed cells follow the exact conditionals, and the effective sample size says where they do not."""

import numpy as np
import pandas as pd
import pytest

from diffeo import FlowDensity


@pytest.fixture(scope="module")
def heavy():
    draws = np.random.default_rng(0)
    t = draws.standard_t(1.5, 2_500)
    y = t + 0.5 * draws.standard_t(1.5, 2_500)
    return FlowDensity("mixture", max_steps=60, random_state=0).fit(pd.DataFrame({"t": t, "y": y}))


def quadrature(model, t):
    """Return points y, the distribution function of y given t there, and p(t)."""
    y = t + np.sinh(np.linspace(-9, 9, 20_001))
    p = np.exp(model.score_samples(pd.DataFrame({"t": np.full(len(y), t), "y": y})))
    mass = np.r_[0, np.cumsum(0.5 * (p[1:] + p[:-1]) * np.diff(y))]
    return y, mass / mass[-1], mass[-1]


@pytest.mark.parametrize("t", [0.0, 5.0, 70.0, -60.0])
def test_numbers_far_out_are_drawn_from_the_member_that_has_them(heavy, t):
    y, distribution, mass = quadrature(heavy, t)
    found = heavy.impute(pd.DataFrame({"t": [t] * 300, "y": [np.nan] * 300}), 1, random_state=2)
    drawn = np.sort(np.interp(found.tables[0]["y"], y, distribution))
    apart = np.abs(drawn - (np.arange(300) + 0.5) / 300).max()
    assert apart < 1.63 / np.sqrt(300)  # Kolmogorov–Smirnov, at 1 %
    # All members are proposed from, each as likely as it is: the draws are of p itself.
    assert found.effective == pytest.approx(found.proposals)
    continuous, row = heavy.density_.joint.continuous, np.array([[t, np.nan]])
    _, log_weight = continuous.complete(row, np.array([[True, False]]), seed=1, draws=50)
    assert np.exp(log_weight).mean() == pytest.approx(mass, rel=1e-3)


def test_flows_are_targets_of_draws_from_other_members():
    draws = np.random.default_rng(0)
    t = draws.standard_t(2, 800)
    frame = pd.DataFrame({"t": t, "y": np.abs(t) + 0.3 * draws.standard_t(2, 800)})
    model = FlowDensity("affine", max_steps=40, random_state=0).fit(frame)
    continuous = model.density_.joint.continuous
    # The flow is nearly all of the density, and nothing is proposed from it.
    continuous.model.weights = [0.7 if "affine" in name else 0.3 for name in continuous.model.names]
    for given in (0.0, 2.0, -9.0):
        y, distribution, mass = quadrature(model, given)
        row = np.array([[given, np.nan]])
        filled, log_weight = continuous.complete(row, np.array([[True, False]]), seed=1, draws=20_000)
        weight = np.exp(log_weight[0])
        assert abs(weight.mean() - mass) < 5 * weight.std() / np.sqrt(len(weight)) + 1e-3 * mass
        below = np.interp(filled[0, :, 1], y, distribution)
        assert (weight @ below) / weight.sum() == pytest.approx(0.5, abs=0.03)
