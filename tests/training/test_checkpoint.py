"""Checkpoints: resumed bit for bit, whole at every moment, and of this run only."""

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffeo.bijections import Standardize
from diffeo.errors import FileError
from diffeo.files import container
from diffeo.flows import Flow
from diffeo.objectives import Batch, MaximumLikelihood
from diffeo.testing.faults import BOUNDARIES_A_SAVE, fault_at, io_error, no_space
from diffeo.testing.kills import figures
from diffeo.training import Evaluation, TrainConfig, fit

CONFIG = TrainConfig(
    max_steps=120, batch_size=32, evaluate_every=25, averaging=0.95, noise=0.02, checkpoint_every=1
)


def stop_at(step: int):
    def interrupt(event: Evaluation) -> None:
        if event.step == step:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("step", [0, 50, 120])
def test_a_resumed_run_ends_with_the_same_bits(banana, small, same_weights, state_path, step):
    x, _ = banana(300)
    whole, cut = (small(dropout=0.2).then(Standardize(2)) for _ in range(2))
    expected = fit(whole, x, config=CONFIG)
    first = fit(cut, x, config=CONFIG, checkpoint=state_path, callback=stop_at(step))
    assert first.stopped_by == "interrupted"
    resumed = small(dropout=0.2, seed=9).then(Standardize(2))  # its own first weights do not matter
    result = fit(resumed, x, config=CONFIG, checkpoint=state_path)
    assert same_weights(resumed, whole)
    assert not same_weights(resumed, cut) or first.best_step == expected.best_step
    assert result.stopped_by == expected.stopped_by
    assert [(r.step, r.train_nats, r.held_out_nats) for r in result.history[1:]] == [
        (r.step, r.train_nats, r.held_out_nats) for r in expected.history[1:]
    ]


class Counted(MaximumLikelihood):
    """Maximum likelihood that is interrupted at one of its calls."""

    calls, last = 0, -1

    def loss(self, flow: Flow, batch: Batch) -> torch.Tensor:
        object.__setattr__(self, "calls", self.calls + 1)
        if self.calls == self.last:
            raise KeyboardInterrupt
        return super().loss(flow, batch)


@pytest.mark.parametrize("call", [1, 13, 40, 77, 120])
def test_an_interrupt_between_any_two_steps_loses_no_bit(banana, small, same_weights, state_path, call):
    x, _ = banana(300)
    whole, resumed = small(dropout=0.2), small(seed=9, dropout=0.2)
    fit(whole, x, config=CONFIG, objective=Counted())
    interrupted = Counted()
    object.__setattr__(interrupted, "last", call)
    cut = small(dropout=0.2)
    result = fit(cut, x, config=CONFIG, objective=interrupted, checkpoint=state_path)
    assert result.stopped_by == "interrupted"
    assert call - 33 < result.steps < call
    fit(resumed, x, config=CONFIG, objective=Counted(), checkpoint=state_path)
    assert same_weights(resumed, whole)


def test_early_stopping_counts_on_after_a_resume(small, state_path):
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    config = replace(CONFIG, max_steps=1000, patience=3, min_delta=1.0)
    fit(small(), x, config=config, checkpoint=state_path, callback=stop_at(75))
    result = fit(small(), x, config=config, checkpoint=state_path)
    assert (result.stopped_by, result.steps) == ("early stopping", 75)


def test_a_finished_run_returns_at_once(banana, small, same_weights, state_path):
    x, _ = banana(300)
    one, two = small(), small(seed=5)
    first = fit(one, x, config=CONFIG, checkpoint=state_path)
    seen: list[Evaluation] = []
    second = fit(two, x, config=CONFIG, checkpoint=state_path, callback=seen.append)
    assert same_weights(one, two)
    assert repr(first) == repr(second)  # NaN is not equal to itself
    assert seen == []


def test_skipped_steps_survive_a_resume(banana, small, state_path, same_weights):
    x, _ = banana(300)
    x[17] = 1e30  # its log-density is −∞: its batch is bad once an epoch
    config = replace(CONFIG, noise=0.0, max_bad_steps=50)

    def run(flow, **kwargs):
        return fit(flow, x, validation=x[:10], config=config, **kwargs)

    whole, resumed = small(), small(seed=3)
    expected = run(whole)
    assert len(expected.events) >= 10
    run(small(), checkpoint=state_path, callback=stop_at(75))
    result = run(resumed, checkpoint=state_path)
    assert result.events == expected.events
    assert same_weights(whole, resumed)


def test_killed_runs_resume_with_the_same_bits():
    for figure in figures(kills=6):
        assert figure.tested == 6
        assert figure.ok, figure


@pytest.mark.parametrize("fault", [no_space, io_error])
@pytest.mark.parametrize("boundary", range(1, BOUNDARIES_A_SAVE))
def test_a_failing_disk_leaves_the_file_before(banana, small, state_path, fault, boundary):
    x, _ = banana(200)
    fit(small(), x, config=CONFIG, checkpoint=state_path, callback=stop_at(50))
    before = state_path.read_bytes()
    flow = small()
    with fault_at(boundary, fault), pytest.raises(FileError, match="could not be written"):
        fit(flow, x, config=CONFIG, checkpoint=state_path)
    assert state_path.read_bytes() == before
    assert [path.name for path in state_path.parent.iterdir()] == [state_path.name]
    assert not flow.training


def test_a_folder_that_is_not_there_is_found_before_training(banana, small, tmp_path):
    x, _ = banana(200)
    seen: list[Evaluation] = []
    with pytest.raises(FileError, match=r"nowhere.*could not be written"):
        fit(small(), x, config=CONFIG, checkpoint=tmp_path / "nowhere" / "a", callback=seen.append)
    assert [event.step for event in seen] in ([], [0])


def test_litter_of_a_killed_writer_is_swept(banana, small, state_path):
    dead = state_path.with_name(f".{state_path.name}.{2**22 + 1}.part")
    alive = state_path.with_name(f".{state_path.name}.{os.getppid()}.part")
    for path in (dead, alive):
        path.write_bytes(b"half")
    x, _ = banana(200)
    fit(small(), x, config=replace(CONFIG, max_steps=2), checkpoint=state_path)
    assert not dead.exists()
    assert alive.exists()


def test_sigterm_saves_and_then_takes_its_course(banana, small, state_path):
    x, _ = banana(300)
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:

        def terminate(event: Evaluation) -> None:
            if event.step == 50:
                signal.raise_signal(signal.SIGTERM)

        result = fit(small(), x, config=CONFIG, checkpoint=state_path, callback=terminate)
        assert result.stopped_by == "interrupted"
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    about, _ = container.read_header(state_path)
    assert about["training"]["step"] == 50
    assert about["training"]["stopped_by"] == ""


def test_a_thread_may_fit_with_a_checkpoint(banana, small, state_path):
    x, _ = banana(200)
    results: list[str] = []

    def work() -> None:
        results.append(fit(small(), x, config=CONFIG, checkpoint=state_path).stopped_by)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == ["max_steps"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("flow", "another flow"),
        ("x", "other training rows"),
        ("validation", "other held-out rows"),
        ("learning_rate", r"learning_rate=0\.001, now 0\.5"),
    ],
)
def test_another_run_is_not_resumed(banana, small, state_path, change, message):
    x, _ = banana(200)
    held, _ = banana(50, seed=3)
    config = replace(CONFIG, learning_rate=1e-3)
    fit(small(), x, validation=held, config=config, checkpoint=state_path, callback=stop_at(25))
    before = state_path.read_bytes()
    flow = small(hidden=(25,)) if change == "flow" else small()
    if change == "x":
        x = x + 1
    if change == "validation":
        held = held + 1
    if change == "learning_rate":
        config = replace(config, learning_rate=0.5)
    with pytest.raises(FileError, match=message):
        fit(flow, x, validation=held, config=config, checkpoint=state_path)
    assert state_path.read_bytes() == before


def test_where_it_saves_may_change(banana, small, same_weights, state_path):
    x, _ = banana(200)
    whole, resumed = small(), small()
    fit(whole, x, config=CONFIG)
    fit(small(), x, config=CONFIG, checkpoint=state_path, callback=stop_at(50))
    fit(resumed, x, config=replace(CONFIG, checkpoint_every=77, device="cpu"), checkpoint=state_path)
    assert same_weights(whole, resumed)


def test_a_file_that_is_no_training_state_is_refused(banana, small, state_path: Path):
    x, _ = banana(200)
    small().save(state_path)
    before = state_path.read_bytes()
    with pytest.raises(FileError, match="a model file, not a training state"):
        fit(small(), x, config=CONFIG, checkpoint=state_path)
    assert state_path.read_bytes() == before


def test_a_flipped_bit_is_found(banana, small, state_path):
    x, _ = banana(200)
    fit(small(), x, config=CONFIG, checkpoint=state_path, callback=stop_at(25))
    damaged = bytearray(state_path.read_bytes())
    damaged[-100] ^= 1
    state_path.write_bytes(damaged)
    with pytest.raises(FileError, match="changed after it was written"):
        fit(small(), x, config=CONFIG, checkpoint=state_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("weights:bijection.bijections.0.initialised"),
        lambda tensors: tensors.update({"weights:odd": torch.zeros(2)}),
        lambda tensors: tensors.update({"optimizer:0/exp_avg": torch.zeros(1, 77)}),
        lambda tensors: tensors.update({"optimizer:999/step": torch.zeros(())}),
        lambda tensors: tensors.update({"average:odd": torch.zeros(2)}),
        lambda tensors: tensors.update({"best:odd": torch.zeros(2)}),
    ],
)
def test_tensors_of_another_shape_are_refused_before_the_flow_changes(banana, small, state_path, change):
    x, _ = banana(200)
    fit(small(), x, config=CONFIG, checkpoint=state_path, callback=stop_at(25))
    about, _ = container.read_header(state_path)
    tensors = container.read_tensors(state_path, about)
    change(tensors)
    container.write(state_path, tensors, {key: value for key, value in about.items() if key != "digest"})
    flow = small()
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    with pytest.raises(FileError, match=r"does not hold the tensors of this flow.*begin anew"):
        fit(flow, x, config=CONFIG, checkpoint=state_path)
    assert all(torch.equal(before[name], t) for name, t in flow.state_dict().items())
