"""fit_target: known evidences, bounded supports, a bend, restarts, real regressions, refusals."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from torch.distributions import Beta, Gamma, LogNormal, Normal, constraints

import diffeo
from diffeo import flows
from diffeo.bijections import Affine, onto
from diffeo.distributions import FullNormal, StandardLogistic, StandardNormal
from diffeo.errors import ConfigError, ShapeError, TrainingError
from diffeo.flows import Flow
from diffeo.objectives import MMD, ImportanceWeighted, Renyi, ReverseKL
from diffeo.training import TrainConfig, fit_target


def config(steps=500, rate=1e-2, **settings):
    return TrainConfig(max_steps=steps, learning_rate=rate, **settings)


def affine(features):
    return Flow(StandardNormal(features), Affine(features))


LOC = torch.tensor([2.0, -1.0])


def gaussian(x):
    """Z = 7."""
    return Normal(LOC, torch.tensor([0.5, 2.0])).log_prob(x).sum(-1) + math.log(7.0)


def banana(x):
    """A bent normal: x₂ − x₁² is normal, and the bend has determinant 1."""
    return -(x[:, 0] ** 2) / 2 - 2 * (x[:, 1] - x[:, 0] ** 2) ** 2


BANANA_LOG_Z = math.log(2 * math.pi * 0.5)


def test_a_gaussian_of_known_evidence_is_met_exactly():
    result = fit_target(affine(2), gaussian, config=config(600, 3e-2))
    assert result.log_evidence == pytest.approx(math.log(7), abs=1e-4)
    assert result.log_evidence_error < 1e-4
    assert result.bound == pytest.approx(math.log(7), abs=1e-4)
    assert result.effective_sample_size == pytest.approx(10_000, rel=1e-3)
    mean, error = result.expectation(lambda x: x)
    assert ((mean - LOC).abs() <= 4.5 * error).all()
    assert result.draws.shape == (10_000, 2)
    assert "log evidence 1.9459" in str(result)


@pytest.mark.parametrize("objective", [None, Renyi(banana, 0.5), ImportanceWeighted(banana, 4)])
def test_a_banana(objective):
    # x₂ − x₁² is normal: a masked affine layer is the target but for its network's x₁².
    flow = flows.MAF(2, transforms=1, hidden=(32,), batch_norm=False)
    result = fit_target(flow, banana, objective=objective, config=config(400))
    assert abs(result.log_evidence - BANANA_LOG_Z) <= 5 * result.log_evidence_error
    assert result.log_evidence_error < 0.02
    assert result.bound <= result.log_evidence
    assert BANANA_LOG_Z - result.bound < 0.15
    assert result.effective_sample_size > 5000


def test_bounded_supports_of_every_kind():
    """A Beta, a Gamma and a mirrored log-normal side by side; draws stay inside, the evidence is 1."""
    beta, gamma, mirrored = Beta(2.0, 5.0), Gamma(3.0, 2.0), LogNormal(0.2, 0.5)

    def log_density(x):
        parts = beta.log_prob(x[:, 0]), gamma.log_prob(x[:, 1]), mirrored.log_prob(3 - x[:, 2])
        return torch.stack(parts).sum(0)

    support = [constraints.unit_interval, constraints.positive, constraints.less_than(3.0)]
    # On the line the tails of a Beta and a Gamma are exponential, as a logistic's are.
    flow = Flow(StandardLogistic(3), Affine(3))
    result = fit_target(flow, log_density, support=support, config=config(600, 3e-2))
    x = result.draws
    assert ((x[:, 0] > 0) & (x[:, 0] < 1) & (x[:, 1] > 0) & (x[:, 2] < 3)).all()
    assert abs(result.log_evidence) <= 5 * result.log_evidence_error
    assert result.log_evidence_error < 0.01
    assert result.effective_sample_size > 7000
    mean, error = result.expectation(lambda x: x)
    assert ((mean - torch.stack([beta.mean, gamma.mean, 3 - mirrored.mean])).abs() <= 5 * error).all()
    outside = torch.tensor([[1.2, 1.0, 0.0], [0.5, -1.0, 0.0], [0.5, 1.0, 3.5]])
    assert torch.equal(result.flow.log_prob(outside), torch.full((3,), -torch.inf))


def test_supports_are_read_off_constraints():
    c = constraints
    cases = [
        (c.real, None),
        (c.real_vector, None),
        (c.independent(c.positive, 1), [(0, None)] * 2),
        (c.nonnegative, [(0, None)] * 2),
        (c.greater_than(torch.tensor([1.0, 2.0])), [(1, None), (2, None)]),
        (c.interval(-1.0, torch.tensor([1.0, math.inf])), [(-1, 1), (-1, None)]),
        (c.half_open_interval(0.0, 2.0), [(0, 2)] * 2),
        (c.cat([c.positive, c.real], -1, [1, 1]), [(0, None), (None, None)]),
        (c.stack([c.unit_interval, c.less_than(0.0)], -1), [(0, 1), (None, 0)]),
        ([c.real, c.positive], [(None, None), (0, None)]),
    ]
    for support, sides in cases:
        layer = onto(support, 2)
        found = None if not hasattr(layer, "_low") else list(zip(*layer._config.values(), strict=True))
        assert found == sides, support
    for support in (c.simplex, c.lower_cholesky, c.boolean, c.nonnegative_integer, "positive"):
        with pytest.raises(ConfigError, match="is no box of real numbers"):
            onto(support, 2)
    with pytest.raises(ShapeError, match=r"bounds for 1 feature\(s\); expected 2"):
        onto([c.positive], 2)


def test_restarts_keep_the_best_and_are_reproducible():
    """Two far modes of unlike mass: which one a run of a normal finds depends on where it begins."""

    def modes(x):
        return torch.logaddexp(-((x + 6) ** 2).sum(-1) / 2, math.log(20.0) - ((x - 6) ** 2).sum(-1) / 2)

    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        flow = flows.MAF(2, transforms=1, hidden=(8,))
        runs.append(fit_target(flow, modes, restarts=3, draws=500, config=config(60, 2e-2)))
    first, second = runs
    assert len(first.bounds) == len(first.fits) == 3
    assert first.bounds == second.bounds
    assert first.best == int(np.argmax(first.bounds))
    assert first.bound == pytest.approx(first.bounds[first.best])
    assert len(set(first.bounds)) == 3
    x, log_q = first.draws, first.flow.log_prob(first.draws)
    assert torch.allclose(first.log_weights.float(), modes(x) - log_q, atol=1e-3)
    assert "restarts reached" in str(first)


def test_torch_random_state_and_the_flow_come_back():
    before = torch.get_rng_state()
    flow = affine(2)
    result = fit_target(flow, gaussian, config=config(20), draws=100)
    assert torch.equal(before, torch.get_rng_state())
    assert result.flow is flow
    assert not flow.training
    assert all(p.grad is None for p in flow.parameters())


def test_a_linear_regression_on_real_rows_has_its_closed_form():
    """Diabetes: weights N(0, 1), noise known. log Z and the posterior's moments, in closed form."""
    data = load_diabetes()
    x = torch.tensor(data.data[:, [2, 3, 8]] / data.data[:, [2, 3, 8]].std(0))
    y = torch.tensor((data.target - data.target.mean()) / data.target.std())
    x = torch.cat([torch.ones(len(x), 1), x], -1)
    noise = 0.7
    precision = torch.eye(4, dtype=x.dtype) + x.T @ x / noise**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ x.T @ y / noise**2
    marginal = x @ x.T + noise**2 * torch.eye(len(y), dtype=x.dtype)
    log_z = torch.distributions.MultivariateNormal(torch.zeros_like(y), marginal).log_prob(y)

    def log_density(w):
        fit = Normal(w @ x.T, noise).log_prob(y).sum(-1)
        return fit + Normal(0.0, 1.0).log_prob(w).sum(-1)

    flow = Flow(FullNormal(4), Affine(4)).double()
    result = fit_target(flow, log_density, config=config(1500, 2e-2))
    assert result.log_evidence == pytest.approx(float(log_z), abs=0.01)
    found, error = result.expectation(lambda w: w)
    assert ((found - mean).abs() <= 5 * error + 1e-3).all()
    spread, _ = result.expectation(lambda w: (w - mean) ** 2)
    assert torch.allclose(spread, covariance.diagonal(), rtol=0.1)


def test_a_logistic_regression_agrees_with_a_long_chain():
    """Breast cancer, three columns and an intercept, against emcee's ensemble sampler."""
    emcee = pytest.importorskip("emcee")
    data = load_breast_cancer()
    columns = data.data[:, [0, 1, 4]]
    x = torch.tensor((columns - columns.mean(0)) / columns.std(0))
    x = torch.cat([torch.ones(len(x), 1), x], -1)
    y = torch.tensor(data.target * 2.0 - 1)

    def log_density(w):
        return torch.nn.functional.logsigmoid(y * (w @ x.T)).sum(-1) + Normal(0.0, 3.0).log_prob(w).sum(-1)

    flow = flows.MAF(4, transforms=2, hidden=(16,)).double()
    result = fit_target(flow, log_density, config=config(1500, 1e-2))
    assert result.effective_sample_size > 5000
    start = result.draws[:16].numpy()
    sampler = emcee.EnsembleSampler(
        16, 4, lambda w: log_density(torch.from_numpy(w)).numpy(), vectorize=True
    )
    sampler.random_state = np.random.RandomState(0).get_state()
    sampler.run_mcmc(start, 4000)
    chain = sampler.get_chain(discard=500, flat=True)
    error = chain.std(0) / np.sqrt(len(chain) / sampler.get_autocorr_time(discard=500, quiet=True))
    mean, own = result.expectation(lambda w: w)
    assert (np.abs(mean.numpy() - chain.mean(0)) <= 5 * np.hypot(error, own.numpy())).all()
    spread, _ = result.expectation(lambda w: (w - mean) ** 2)
    assert np.allclose(spread.sqrt().numpy(), chain.std(0), rtol=0.06)


class TestParetoK:
    def test_it_is_the_index_of_a_known_tail(self):
        """w = u^(−k) has a tail of index k; the opposite sign has none."""
        pytest.importorskip("arviz_stats")
        tail = 0.5 * torch.empty(20_000, dtype=torch.float64).exponential_()
        parts = affine(2), torch.zeros(len(tail), 2)
        heavy = diffeo.TargetResult(*parts, tail, (), (0.0,), 0)
        assert heavy.pareto_k == pytest.approx(0.5, abs=0.1)
        light = diffeo.TargetResult(*parts, -tail, (), (0.0,), 0)
        assert light.pareto_k < 0
        nothing = torch.cat([tail[:-5], torch.full((5,), -torch.inf, dtype=tail.dtype)])
        assert diffeo.TargetResult(*parts, nothing, (), (0.0,), 0).pareto_k == pytest.approx(0.5, abs=0.1)

    def test_it_says_what_is_missing(self, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
        monkeypatch.setitem(sys.modules, "arviz_stats", None)
        result = diffeo.TargetResult(affine(2), torch.zeros(4, 2), torch.zeros(4), (), (0.0,), 0)
        with pytest.raises(ConfigError, match=r"pip install 'diffeo\[inference\]'"):
            _ = result.pareto_k
        assert "Pareto" not in str(result)


class TestRefusals:
    def test_a_target_that_is_no_number(self):
        with pytest.raises(ConfigError, match=r"log_density is nan at x = \["):
            fit_target(affine(2), lambda x: x.log().sum(-1))
        with pytest.raises(ConfigError, match=r"log_density is inf at x = \["):
            fit_target(affine(2), lambda x: x.sum(-1) + torch.inf)
        with pytest.raises(ConfigError, match=r"−∞ at \d+ of 256 draws.*support"):
            fit_target(affine(2), lambda x: torch.where(x[:, 0] > 0, gaussian(x), -torch.inf))
        with pytest.raises(ShapeError, match="expected \\(256,\\)"):
            fit_target(affine(2), lambda x: -x.square())
        with pytest.raises(ConfigError, match="carries no gradient"):
            fit_target(affine(2), lambda x: gaussian(x.detach()))

    def test_a_target_that_becomes_nan_gives_the_training_up(self):
        def target(x):
            return torch.where(x[:, 0].detach().abs() < 1e9, gaussian(x) * calls(), 0.0)

        state = [1.0]

        def calls():
            state[0] = state[0] * 2 if state[0] < 4 else math.nan
            return state[0]

        with pytest.raises(TrainingError, match="no rows here but draws of the flow"):
            fit_target(affine(2), target, config=config(200, max_bad_steps=2))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"flow": 3}, "flow is a int"),
            ({"log_density": 3}, "log_density is a int"),
            ({"config": {}}, "config is a dict"),
            ({"objective": "kl"}, "objective is a str"),
            ({"objective": MMD()}, "compares with data"),
            ({"restarts": 0}, "restarts=0"),
            ({"draws": 10}, "draws=10"),
            ({"support": constraints.simplex}, "is no box"),
            ({"flow": flows.MAF(2, context=1)}, "reads a context"),
            (
                {"flow": flows.MAF(2).then(onto(constraints.positive, 2)), "support": constraints.positive},
                "leave",
            ),
        ],
    )
    def test_arguments(self, arguments, message):
        given = {"flow": affine(2), "log_density": gaussian, **arguments}
        with pytest.raises(ConfigError, match=message):
            fit_target(given.pop("flow"), given.pop("log_density"), **given)

    def test_the_score_needs_no_gradient(self):
        objective = ReverseKL(lambda x: gaussian(x.detach()), estimator="score")
        result = fit_target(affine(2), gaussian, objective=objective, config=config(800, 2e-2))
        assert result.log_evidence == pytest.approx(math.log(7), abs=0.02)
