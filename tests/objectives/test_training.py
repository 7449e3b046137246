"""Every objective trains a flow to its optimum through diffeo.fit; games and sums keep their state."""

import math

import pytest
import torch

from diffeo.bijections import Affine
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.objectives import (
    MMD,
    Adversarial,
    Batch,
    EnergyDistance,
    ImportanceWeighted,
    MaximumLikelihood,
    Objective,
    Ramp,
    Renyi,
    ReverseKL,
    ScoreMatching,
    SlicedWasserstein,
    Weighted,
)
from diffeo.training import TrainConfig, fit
from tests.objectives.material import NOTHING, normal_flow

LOC, SCALE = torch.tensor([1.0, -0.5]), torch.tensor([0.5, 1.5])
ENTROPY = float(math.log(2 * math.pi * math.e) + SCALE.log().sum())


def target(x):
    return -((x - LOC.to(x)) / SCALE.to(x)).square().sum(-1) / 2


def rows(n=2000):
    return LOC + SCALE * torch.randn(n, 2, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(
    ("objective", "short"),
    [
        (ReverseKL(target), 0.001),
        (ReverseKL(target, estimator="reparametrised"), 0.01),
        (ReverseKL(target, estimator="score"), 0.02),
        (Renyi(target, 0.5), 0.01),
        (Renyi(target, 2.0), 0.01),
        (ImportanceWeighted(target, 4), 0.01),
        (MMD(), 0.03),
        (EnergyDistance(), 0.03),
        (SlicedWasserstein(), 0.03),
        (ScoreMatching(), 0.02),
        (ScoreMatching("sliced"), 0.02),
        (Adversarial(hidden=(32, 32), steps=2, learning_rate=5e-3), 0.15),
        (Adversarial("wasserstein", hidden=(32, 32), steps=2), 0.15),
    ],
    ids=repr,
)
def test_fit_reaches_the_optimum(objective, short):
    """The flow can be the target exactly: KL(p ‖ q) is how far it stays behind, in nats."""
    flow = Flow(StandardNormal(2), Affine(2))
    rate = 5e-3 if getattr(objective, "kind", "") == "jensen-shannon" else 2e-2
    config = TrainConfig(max_steps=600, learning_rate=rate, batch_size=128, evaluate_every=200)
    result = fit(flow, rows(), objective=objective, config=config, validation=None)
    assert not result.events
    assert result.unit == objective.unit
    with torch.no_grad():
        x = rows(20_000)
        gap = float((-(((x - LOC) / SCALE) ** 2).sum(-1) / 2 - flow(x)).mean())
    gap -= math.log(2 * math.pi) + float(SCALE.log().sum())
    assert gap <= short, f"{gap:.4f} nats short of the target"


class TestWeighted:
    def test_it_is_the_sum_with_the_weights_of_the_moment(self):
        flow, batch = normal_flow([0.0, 0.0], [1.0, 1.0]).float(), Batch(rows(50), progress=0.25)
        whole = Weighted([MaximumLikelihood(), ScoreMatching()], [2.0, Ramp(1.0, 0.0, until=0.5)])
        parts = [part.loss(flow, batch) for part in whole.objectives]
        assert torch.allclose(whole.loss(flow, batch), 2 * parts[0] + 0.5 * parts[1])
        late = Batch(batch.x, progress=0.5)
        assert torch.allclose(whole.loss(flow, late), 2 * parts[0])

    def test_what_it_says_of_itself_is_its_parts(self):
        likelihoods = Weighted([MaximumLikelihood(), MaximumLikelihood()])
        assert (likelihoods.unit, likelihoods.first_order, likelihoods.resumable) == (
            "nats per row",
            True,
            True,
        )
        mixed = Weighted([likelihoods, Adversarial()], [1.0, 0.1])
        assert (mixed.unit, mixed.first_order, mixed.resumable) == ("mixed units", False, False)
        assert mixed.needs_data
        assert not Weighted([ReverseKL(target)]).needs_data

    def test_fit_tells_it_how_much_of_the_run_is_over(self):
        seen = []

        class Spy(Objective):
            def loss(self, flow, batch):
                seen.append(batch.progress)
                return -flow(batch.x).mean()

        fit(Flow(StandardNormal(2), Affine(2)), rows(), objective=Spy(), config=TrainConfig(max_steps=10))
        assert seen == pytest.approx([k / 10 for k in range(10)])
        seen.clear()
        config = TrainConfig(time_budget=0.3)
        fit(Flow(StandardNormal(2), Affine(2)), rows(), objective=Spy(), config=config)
        assert 0 <= seen[0] < 0.2
        assert seen == sorted(seen)
        assert seen[-1] > 0.5

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Weighted([]), "must be a list"),
            (lambda: Weighted([1]), r"objectives\[0\] is a int"),
            (lambda: Weighted([MMD()], [1.0, 2.0]), "one for each objective"),
            (lambda: Weighted([MMD()], ["a"]), r"weights\[0\]"),
            (lambda: Weighted([MMD()], [0.0]).loss(normal_flow(0.0, 1.0), NOTHING), "all weights are 0"),
        ],
    )
    def test_refusals(self, make, message):
        with pytest.raises(ConfigError, match=message):
            make()


class TestAdversarial:
    def test_a_run_leaves_the_object_as_it_was_and_runs_are_alike(self):
        game = Weighted([Adversarial(hidden=(8,)), MaximumLikelihood()])
        weights = []
        for _ in range(2):
            flow = Flow(StandardNormal(2), Affine(2))
            fit(flow, rows(), objective=game, config=TrainConfig(max_steps=40))
            weights.append([p.detach().clone() for p in flow.parameters()])
        assert game.objectives[0].adversary is None
        assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))

    def test_losses_of_one_object_go_on_with_its_network(self):
        game, flow = Adversarial(hidden=(8,)), Flow(StandardNormal(2), Affine(2))
        batch = Batch(rows(64))
        game.loss(flow, batch)
        network = game.adversary
        before = [p.detach().clone() for p in network.parameters()]
        game.loss(flow, batch).backward()
        assert game.adversary is network
        assert not all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
        assert all(p.requires_grad for p in network.parameters())

    def test_the_value_is_a_lower_bound_of_the_divergence(self):
        """Far apart it nears log 2; W₁ of normals 6 apart is 6, and the penalty adds 1.8."""
        flow = Flow(StandardNormal(2), Affine(2))
        near, far = torch.randn(512, 2), torch.randn(512, 2) + torch.tensor([6.0, 0.0])
        game = Adversarial(hidden=(32,), learning_rate=1e-2)
        values = [game.loss(flow, Batch(far)).item() for _ in range(300)]
        assert 0.6 < values[-1] <= math.log(2)
        game = Adversarial(hidden=(32,), learning_rate=1e-2)
        assert abs([game.loss(flow, Batch(near)).item() for _ in range(100)][-1]) < 0.05
        # The best linear d has a slope of 1 + W₁ / 2λ.
        game = Adversarial("wasserstein", hidden=(32,), learning_rate=1e-2)
        assert [game.loss(flow, Batch(far)).item() for _ in range(100)][-1] == pytest.approx(7.8, abs=0.5)

    def test_a_checkpoint_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="whose own state no checkpoint holds"):
            fit(
                Flow(StandardNormal(2), Affine(2)),
                rows(),
                objective=Weighted([Adversarial()]),
                checkpoint=tmp_path / "state",
            )
