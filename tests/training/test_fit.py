"""What a fit promises: the density, the best weights, the same bits, and nothing else touched."""

import math
import time

import numpy as np
import pytest
import torch

from diffeo.bijections import Standardize, Whiten
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.objectives import Batch, MaximumLikelihood, Objective
from diffeo.testing.state import torch_state
from diffeo.training import Evaluation, TrainConfig, fit, optimisation

SHORT = TrainConfig(max_steps=70, batch_size=64, evaluate_every=20, averaging=0.0)


# -- the density ---------------------------------------------------------------------------------


def test_it_recovers_a_normal_density(normal):
    x, entropy = normal(3000)
    test, _ = normal(5000, seed=1)
    flow = Flow(StandardNormal(2), Whiten(2))
    result = fit(flow, x)
    assert result.stopped_by == "nothing to train"
    assert result.steps == 0
    assert float(-flow.log_prob(test).detach().mean()) == pytest.approx(entropy, abs=0.05)


def test_it_recovers_a_bent_density(banana, small):
    x, entropy = banana(4000)
    test, _ = banana(5000, seed=1)
    flow = small(batch_norm=False).then(Standardize(2))
    result = fit(flow, x, config=TrainConfig(max_steps=700, batch_size=128, learning_rate=5e-3))
    nats = -flow.log_prob(test).detach()
    error = float(nats.std()) / math.sqrt(len(test))
    # Not better than the truth, beyond what chance allows; and not much worse.
    assert entropy - 4 * error < float(nats.mean()) < entropy + 0.05
    assert result.best_held_out_nats == pytest.approx(float(nats.mean()), abs=0.15)


def test_context_is_learned(small):
    draws = torch.Generator().manual_seed(0)
    context = torch.randn(3000, 1, generator=draws)
    x = 0.3 * torch.randn(3000, 2, generator=draws) + 2 * context
    flow = small(context=1)
    fit(flow, x, context=context, config=TrainConfig(max_steps=400, batch_size=128))
    centre = flow.sample((2000,), torch.tensor([1.0]), generator=torch.Generator().manual_seed(0)).mean(0)
    assert centre.tolist() == pytest.approx([2.0, 2.0], abs=0.15)


def test_float64_and_numpy(banana, small):
    x, _ = banana(300)
    flow = small().double()
    fit(flow, x.numpy(), config=SHORT)  # numpy is converted to the flow's dtype
    assert flow.log_prob(x.double()).dtype == torch.float64
    frozen = x.numpy().astype(np.float64)[::-1, ::-1]
    frozen.flags.writeable = False
    before = frozen.copy()
    fit(small(), frozen, config=SHORT)
    assert np.array_equal(frozen, before)


def test_batches_never_have_one_row(small):
    x = torch.randn(65, 2, generator=torch.Generator().manual_seed(0))
    result = fit(small(), x, validation=None, config=TrainConfig(max_epochs=3, batch_size=64))
    assert result.steps == 6


# -- the best weights ----------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [0.0, 0.98])
def test_the_best_weights_are_restored(banana, small, averaging):
    x, _ = banana(200)
    held, _ = banana(200, seed=2)
    flow = small(couplings=6, hidden=(64,))
    config = TrainConfig(
        max_steps=400, batch_size=32, learning_rate=1e-2, evaluate_every=20, averaging=averaging, patience=8
    )
    result = fit(flow, x, validation=held, config=config)
    measured = float(-flow.log_prob(held).detach().mean())
    assert measured == pytest.approx(result.best_held_out_nats, abs=1e-5)
    assert result.best_held_out_nats == min(row.held_out_nats for row in result.history)
    # It overfits: the last weights were worse, so these are not they.
    assert result.best_step < result.steps
    assert result.history[-1].held_out_nats > result.best_held_out_nats + 0.01
    assert not flow.training


def test_a_fit_never_ends_worse_than_it_began(small):
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    flow = small()
    result = fit(flow, x, config=TrainConfig(max_steps=40, learning_rate=3.0, clip_norm=None))
    assert result.best_held_out_nats <= result.history[0].held_out_nats


def test_early_stopping(small):
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    config = TrainConfig(max_steps=5000, evaluate_every=10, patience=3, min_delta=0.5)
    result = fit(small(), x, config=config)
    assert result.stopped_by == "early stopping"
    assert result.steps == 30


def test_without_held_out_rows_the_last_weights_are_kept(banana, small):
    x, _ = banana(300)
    result = fit(small(), x, validation=None, config=SHORT)
    assert result.stopped_by == "max_steps"
    assert math.isnan(result.best_held_out_nats)
    assert result.best_step == result.steps == 70


def test_held_out_rows_without_a_finite_density_are_said(small):
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    held = torch.tensor([[0.0, 0.0], [1e30, 0.0]])
    with pytest.warns(UserWarning, match="never had a finite mean log-density"):
        result = fit(small(), x, validation=held, config=SHORT)
    assert result.history[-1].held_out_nats == math.inf
    assert math.isnan(result.best_held_out_nats)


# -- the same bits, and nothing else touched -----------------------------------------------------


def test_the_same_seed_gives_the_same_bits(banana, small, same_weights):
    x, _ = banana(400)
    config = TrainConfig(max_steps=70, batch_size=64, noise=0.05, averaging=0.9)
    flows = [small(dropout=0.2) for _ in range(3)]
    results = [
        fit(flow, x, config=TrainConfig(**{**vars(config), "seed": seed}))
        for flow, seed in zip(flows, (0, 0, 1), strict=True)
    ]
    assert same_weights(flows[0], flows[1])
    assert not same_weights(flows[0], flows[2])
    rows = [[(r.step, r.held_out_nats) for r in result.history] for result in results]
    assert rows[0] == rows[1] != rows[2]


def test_global_state_is_untouched(banana, small):
    x, _ = banana(300)
    flow = small(dropout=0.2)
    before = torch_state()
    fit(flow, x, config=SHORT)
    assert torch_state() == before


def test_the_global_random_state_has_no_influence(banana, small, same_weights):
    x, _ = banana(300)
    flows = [small(dropout=0.2), small(dropout=0.2)]
    fit(flows[0], x, config=SHORT)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(99)
        fit(flows[1], x, config=SHORT)
    assert same_weights(*flows)


def test_inputs_and_frozen_parameters_stay(banana, small):
    x, _ = banana(300)
    kept = x.clone()
    flow = small()
    frozen = flow.bijection.bijections[1].conditioner.requires_grad_(False)
    before = {name: p.clone() for name, p in frozen.named_parameters()}
    fit(flow, x.requires_grad_(), config=SHORT)
    assert torch.equal(x, kept)
    assert x.grad is None
    assert all(torch.equal(before[name], p) for name, p in frozen.named_parameters())
    assert all(p.grad is None for p in flow.parameters())


def test_held_out_rows_never_reach_initialisation(small):
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * 3 + 1
    rows = torch.randperm(400, generator=torch.Generator().manual_seed(5))
    learned = []
    for held in (x[rows[:40]], x[rows[:40]].flip(0), x[rows[:40]] * 1e3):
        flow = small(3).then(Standardize(3))
        fit(flow, x[rows[40:]], validation=held, config=TrainConfig(max_steps=1))
        learned.append((flow.bijection.bijections[-1].loc, flow.bijection.bijections[-1].scale))
    for loc, scale in learned[1:]:
        assert torch.equal(loc, learned[0][0])
        assert torch.equal(scale, learned[0][1])

    # A split by fraction too: what is read off the data does not know the rows that were held out.
    from diffeo.training.split import checked_rows

    train, held = checked_rows(small(3), x, None, 0.2, noise=0.0, seed=3)
    assert sorted([*train.number.tolist(), *held.number.tolist()]) == list(range(400))
    altered = x.clone()
    altered[held.number] = altered[held.number].flip(0) * 50
    statistics = []
    for data in (x, altered):
        flow = small(3).then(Standardize(3))
        fit(flow, data, validation=0.2, config=TrainConfig(max_steps=1, seed=3))
        standardize = flow.bijection.bijections[-1]
        statistics.append((standardize.loc, standardize.scale))
    assert torch.equal(statistics[0][0], statistics[1][0])
    assert torch.equal(statistics[0][1], statistics[1][1])


# -- how it ends ---------------------------------------------------------------------------------


def test_a_time_budget_ends_it(banana, small):
    x, _ = banana(500)
    begun = time.perf_counter()
    result = fit(small(), x, config=TrainConfig(time_budget=0.8, patience=None))
    assert result.stopped_by == "time budget"
    assert 0.8 <= result.seconds <= time.perf_counter() - begun
    assert result.seconds < 3
    # The rate followed the clock down.
    assert result.history[-1].learning_rate < 0.1 * result.config.peak


@pytest.mark.parametrize(("compiling", "gone"), [(5.0, 5.0), (100.0, 15.0)])
def test_what_compiling_takes_is_part_of_a_time_budget(banana, small, monkeypatch, compiling, gone):
    """By a clock of its own: a compiler moves it, and so does each look at it."""
    now = [0.0]

    def clock():
        now[0] += 0.01
        return now[0]

    def compiled(*arguments):
        now[0] += compiling
        return computed(*arguments)

    computed = optimisation.computed
    monkeypatch.setattr(optimisation, "computed", compiled)
    monkeypatch.setattr(time, "perf_counter", clock)
    x, _ = banana(500)
    result = fit(small(), x, config=TrainConfig(time_budget=30.0, patience=None), progress=False)
    assert result.stopped_by == "time budget"
    assert 30 <= result.seconds < 31
    assert now[0] == pytest.approx(compiling + 30.0 - gone, abs=1.0)


def test_the_last_evaluation_is_at_the_last_step(banana, small):
    x, _ = banana(300)
    result = fit(small(), x, config=TrainConfig(max_epochs=2, batch_size=32, evaluate_every=7))
    assert result.stopped_by == "max_epochs"
    assert [row.step for row in result.history] == [0, 7, 14, 18]
    assert result.history[-1].epoch == 2.0


def test_a_callback_sees_every_evaluation_and_stops(banana, small):
    x, _ = banana(300)
    seen: list[Evaluation] = []

    def look(event: Evaluation) -> bool:
        seen.append(event)
        return event.step >= 40

    result = fit(small(), x, config=SHORT, callback=look)
    assert result.stopped_by == "callback"
    assert tuple(seen) == result.history
    assert [row.step for row in seen] == [0, 20, 40]
    assert seen[1].train_nats > 0


def test_an_interrupt_keeps_the_best_weights(banana, small):
    x, _ = banana(300)
    held, _ = banana(300, seed=1)
    flow = small()

    def interrupt(event: Evaluation) -> None:
        if event.step == 40:
            raise KeyboardInterrupt

    result = fit(flow, x, validation=held, config=SHORT, callback=interrupt)
    assert result.stopped_by == "interrupted"
    assert result.steps == 40
    assert float(-flow.log_prob(held).detach().mean()) == pytest.approx(result.best_held_out_nats, abs=1e-5)
    assert not flow.training


def test_an_error_in_a_callback_leaves_the_best_weights(banana, small):
    x, _ = banana(300)
    held, _ = banana(300, seed=1)
    flow, best = small(), []

    def fail(event: Evaluation) -> None:
        best.append(event.held_out_nats)
        if event.step == 40:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(flow, x, validation=held, config=SHORT, callback=fail)
    assert float(-flow.log_prob(held).detach().mean()) == pytest.approx(min(best), abs=1e-5)
    assert not flow.training


# -- objectives ----------------------------------------------------------------------------------


def test_maximum_likelihood_is_the_mean_negative_log_density(small):
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    flow = small().eval()
    assert torch.equal(MaximumLikelihood().loss(flow, Batch(x)), -flow.log_prob(x).mean())


def test_another_objective_is_minimised(small, banana):
    class Doubled(Objective):
        unit = "half nats per row"

        def loss(self, flow: Flow, batch: Batch) -> torch.Tensor:
            return -2 * flow(batch.x, batch.context).mean()

    x, _ = banana(300)
    one = fit(small(), x, config=SHORT, objective=Doubled())
    two = fit(small(), x, config=SHORT)
    assert one.history[1].train_nats > 1.5 * two.history[1].train_nats
    assert one.history[0].held_out_nats == two.history[0].held_out_nats
