"""What a fit shows: its history, its curves, its progress, its plan."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest

from diffeo.training import BadStep, Evaluation, FitResult, TrainConfig, fit
from diffeo.training.plan import plan_for
from diffeo.training.progress import describe
from diffeo.training.seeds import derived_seed
from diffeo.training.state import State

CONFIG = TrainConfig(max_steps=60, batch_size=32, evaluate_every=20)


def result(**changes) -> FitResult:
    history = tuple(
        Evaluation(step, step / 10, step / 100, 3 - step / 50 if step else math.nan, 3 - step / 60, 1e-3)
        for step in (0, 20, 40)
    )
    event = BadStep(7, "activation", "2: Coupling", 17, 0.5)
    values = {
        "history": history,
        "events": (event,),
        "best_step": 40,
        "best_held_out_nats": history[-1].held_out_nats,
        "stopped_by": "max_steps",
        "seconds": 0.5,
        "steps": 40,
        "config": CONFIG,
    }
    return FitResult(**{**values, **changes})


def test_it_reads_as_a_summary():
    text = str(result())
    assert "40 steps in 0.5 s, stopped by max_steps" in text
    assert "held out 2.3333 nats per row, at step 40" in text
    assert "step 7 skipped: activation in layer 2: Coupling is not finite, on training row x[17]" in text
    assert "no held-out rows" in str(result(best_held_out_nats=math.nan))


def test_its_columns_fit_a_data_frame():
    columns = result().columns()
    assert list(columns) == ["step", "epoch", "seconds", "train_nats", "held_out_nats", "learning_rate"]
    assert columns["step"] == [0, 20, 40]


def test_it_draws_its_curves(tmp_path):
    ax = result().plot()
    assert ax.get_xlabel() == "step"
    assert "nats per row" in ax.get_ylabel()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training", "held out", "kept: 2.333 at step 40", "skipped step"]
    ax.figure.savefig(tmp_path / "curves.png")
    assert result(best_held_out_nats=math.nan).plot(ax) is ax


def test_progress_is_drawn_only_where_asked(banana, small, capsys):
    x, _ = banana(200)
    fit(small(), x, config=CONFIG)  # standard error is no terminal here
    assert capsys.readouterr().err == ""
    fit(small(), x, config=CONFIG, progress=False)
    assert capsys.readouterr().err == ""
    fit(small(), x, config=CONFIG, progress=True)
    shown = capsys.readouterr().err
    for word in ("train", "held out", "steps/s", "left", "60/60"):
        assert word in shown


def test_a_line_of_progress_without_held_out_rows(banana, small):
    plan = plan_for(100, CONFIG)
    state = State(tensors=None, step=32, seconds=1.6, total=64.0, count=32)
    assert describe(plan, state) == "32/60 · train 2.0000 · 20 steps/s · 0:01 left"


@pytest.mark.parametrize("rows", [10, 11, 90, 1000, 1001, 65_537])
def test_every_row_is_seen_once_an_epoch_in_even_batches(rows):
    plan = plan_for(rows, TrainConfig())
    slices = [plan.batch(step) for step in range(plan.batches)]
    assert slices[0][1] == 0
    assert slices[-1][2] == rows
    assert all(a[2] == b[1] for a, b in pairwise(slices))
    sizes = {stop - start for _, start, stop in slices}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 2
    assert plan.batch(plan.batches)[:2] == (1, 0)


def test_the_learning_rate_rises_and_falls():
    plan = plan_for(1000, TrainConfig(max_steps=1000, warmup=0.1))
    rates = [plan.rate(plan.progress(step, 0.0)) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.5)
    assert max(rates) == rates[100] == 1.0
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert rates[-1] < 1e-5


def test_windows_end_where_something_is_due():
    plan = plan_for(1000, TrainConfig(max_steps=100, evaluate_every=40))
    ends, step = [], 0
    while step < 100:
        step = plan.window_end(step, 0.0)
        ends.append(step)
    assert ends == [32, 40, 64, 80, 96, 100]
    # Slow steps under a time budget are looked at one by one.
    slow = plan_for(1000, TrainConfig(time_budget=10.0, evaluate_every=1000))
    assert slow.window_end(5, 1.0) == 6
    assert slow.steps is None
    # Quick ones by the dozen, but for the end: half of what is left at most.
    quick = 1 / 64
    assert [slow.window_end(step, quick) - step for step in (0, 320, 608, 624, 638)] == [32, 32, 16, 8, 1]


def test_where_the_clock_ends_a_run_batches_are_small_and_steps_large():
    clock = TrainConfig(time_budget=60.0)
    assert plan_for(1_000_000, clock).batches == -(-1_000_000 // 256)
    assert clock.peak == 4e-3
    for counted in (TrainConfig(time_budget=60.0, max_steps=10), TrainConfig(max_epochs=1)):
        assert plan_for(1_000_000, counted).batches == -(-1_000_000 // 2048)
        assert counted.peak == 2e-3
    chosen = TrainConfig(time_budget=60.0, batch_size=512, learning_rate=1e-2)
    assert (plan_for(51_200, chosen).batches, chosen.peak) == (100, 1e-2)


def test_the_smaller_limit_ends_a_run():
    assert plan_for(100, TrainConfig(max_epochs=2, max_steps=5)).ends == "max_steps"
    assert plan_for(100, TrainConfig(max_epochs=2, max_steps=50)).ends == "max_epochs"
    assert plan_for(100, TrainConfig()).steps == 2_000
    assert plan_for(10**6, TrainConfig()).steps == 30_000


def test_streams_of_random_numbers_are_apart():
    seeds = {
        derived_seed(seed, purpose, index)
        for seed in range(10)
        for purpose in ("order", "noise", "step")
        for index in range(10)
    }
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_importing_draws_in_neither_matplotlib_nor_rich():
    code = (
        "import sys, diffeo.training; print({'matplotlib', 'rich', 'polars', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
