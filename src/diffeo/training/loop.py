"""Fitting: the loop that everything else in this folder serves."""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.objectives import Objective, objective_for
from diffeo.training import checkpoint as files
from diffeo.training.config import TrainConfig, chosen_device
from diffeo.training.guard import diagnose, first_bad, give_up, report
from diffeo.training.interrupt import terminable
from diffeo.training.optimisation import Optimisation, copied, held_out_nats, load_weights, weights_of
from diffeo.training.plan import Plan, plan_for
from diffeo.training.progress import Show, progress_bar
from diffeo.training.result import Evaluation, FitResult
from diffeo.training.split import Rows, checked_rows, warn_unstandardised
from diffeo.training.state import State

Array = Tensor | npt.NDArray[Any]
Callback = Callable[[Evaluation], Any]


def fit(
    flow: Flow,
    x: Array,
    *,
    context: Array | None = None,
    validation: float | Array | tuple[Array, Array] | None = 0.1,
    config: TrainConfig | None = None,
    objective: Objective | None = None,
    checkpoint: str | PathLike[str] | None = None,
    callback: Callback | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Fit a flow to rows: θ* = argmin −(1/N) Σ log p_θ(xₙ | cₙ), in place.

    Steps are AdamW's, with a linear warm-up and a cosine decay, clipped gradients, early stopping on the
    held-out rows, and the best weights restored. What is read off data (Standardize, ActNorm, …) is read
    off training rows only, at most 65,536 of them (fewer images: 2²¹ numbers). The flow comes back in
    evaluation mode, on the device it came from.

    On one machine the same seed gives the same weights, bit for bit (on a GPU, where torch's own kernels
    are deterministic), unless a time budget makes the learning rate follow the clock; torch's global random
    state is as it was. A step whose loss or gradient is not finite is skipped and named, the weights go
    back to the last good ones and the learning rate is halved.

    Args:
        flow: the flow, changed in place.
        x: rows of shape ``(rows, *event_shape)``: a floating numpy array, or a tensor of the flow's dtype.
        context: rows of shape ``(rows, context_features)``, for a flow with context.
        validation: the fraction of rows that is held out, or held-out rows, or ``(x_val, context_val)``,
            or None for none (then the last weights are kept, and nothing stops early).
        config: the settings.
        objective: what is minimised. If not given, maximum likelihood, or flow matching for a flow with a
            Continuous layer that is trained by it. Held-out rows are always measured in −log p; for flow
            matching that takes a solve, and is done less often.
        checkpoint: a file for the training state. If it is there, the run goes on from it and ends with
            the same weights, bit for bit, as if it had never been cut (with a time budget: in the time
            that was left); a finished run returns at once. SIGTERM then saves before it ends the process.
        callback: called with an :class:`Evaluation` after each; a true value stops the run.
        progress: whether to draw a bar; None draws one on a terminal.

    Returns:
        The history and what stopped the run. Ctrl-C ends it early and keeps the best weights so far.

    Raises:
        ConfigError, ShapeError, DtypeError, DataError: an argument cannot be used; found before training.
        FileError: the checkpoint cannot be read or written, or belongs to another run.
        TrainingError: more than ``config.max_bad_steps`` steps were not finite.

    >>> from diffeo.flows import RealNVP
    >>> x = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    >>> flow = RealNVP(2, couplings=2, hidden=(16,))
    >>> result = fit(flow, x, config=TrainConfig(max_epochs=3))
    >>> result.stopped_by, result.steps, flow.training
    ('max_epochs', 36, False)
    """
    config = TrainConfig() if config is None else config
    _check_arguments(flow, config, objective, checkpoint, callback, progress)
    objective = (objective_for(flow) if objective is None else objective).begun()
    if checkpoint is not None and not objective.resumable:
        raise ConfigError(
            f"checkpoint was given with {objective!r:.60}, whose own state no checkpoint holds; expected "
            "None: leave it out, or choose another objective."
        )
    train, held = checked_rows(flow, x, context, validation, noise=config.noise, seed=config.seed)
    warn_unstandardised(flow, train, config.seed)
    device, home, dtype = chosen_device(config.device), flow.base.device, flow.dtype
    inside = torch.float64 if config.precision == "float64" else dtype
    belongs_to, saved, path = {}, None, None if checkpoint is None else Path(checkpoint)
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), torch.enable_grad():
        try:
            flow.to(device, inside)
            train, held = train.to(device, inside), None if held is None else held.to(device, inside)
            if path is not None:
                belongs_to = files.identity(flow, objective, train, held, config)
                saved = files.load(path, belongs_to, device)
                if saved is not None:
                    files.check_tensors(path, saved, flow)
            if saved is None:
                _initialise(flow, train.sample(config.seed))
            else:
                load_weights(flow, saved.tensors.weights)
            plan = plan_for(len(train), config, objective.evaluations_apart)
            begun = time.perf_counter()
            with contextlib.closing(Optimisation(flow, objective, train, plan, config)) as running:
                compiling = min(time.perf_counter() - begun, 0.5 * (config.time_budget or 0.0))
                run = _Run(running, held, plan, config, callback, path, belongs_to, compiling)
                with terminable(active=path is not None), progress_bar(plan, progress) as show:
                    result = run.go(saved, show).result(config, objective.unit)
        finally:
            flow.zero_grad(set_to_none=True)
            flow.eval().to(home, dtype)
    if held is not None and math.isnan(result.best_held_out_nats):
        warnings.warn(
            "the held-out rows never had a finite mean log-density, so the last weights were kept; look "
            "for held-out rows far outside the others: flow.log_prob(x_val).isfinite().",
            UserWarning,
            stacklevel=2,
        )
    return result


def _check_arguments(
    flow: Any, config: Any, objective: Any, checkpoint: Any, callback: Any, progress: Any
) -> None:
    expected: list[tuple[str, Any, Any, str]] = [
        ("flow", flow, Flow, "a diffeo Flow, as diffeo.flows.RealNVP(features)"),
        ("config", config, TrainConfig, "a diffeo.TrainConfig"),
        ("objective", objective, (Objective, type(None)), "a diffeo objective, as MaximumLikelihood()"),
        ("checkpoint", checkpoint, (str, os.PathLike, type(None)), "the path of a file, or None"),
        ("progress", progress, bool | None, "True, False or None"),
    ]
    for name, given, kind, wanted in expected:
        if not isinstance(given, kind):
            raise ConfigError(f"{name} is a {type(given).__name__}; expected {wanted}.")
    if callback is not None and not callable(callback):
        raise ConfigError(f"callback is a {type(callback).__name__}; expected a function of one argument.")


def _initialise(flow: Flow, rows: Rows) -> None:
    # In evaluation mode: dropout would disturb what is read, and batch statistics would move.
    flow.eval().initialise(rows.x, rows.context)


@dataclass(frozen=True)
class _Run:
    """One run from its state on; each part below takes a state and returns the next."""

    running: Optimisation
    held: Rows | None
    plan: Plan
    config: TrainConfig
    callback: Callback | None
    path: Path | None
    belongs_to: dict[str, Any]
    compiling: float  # seconds of a time budget that were gone before the first step

    def go(self, saved: State | None, show: Show) -> State:
        """Run to the end; whatever ends it, the flow gets the best weights so far."""
        state = saved or State(self.running.capture())
        written = -self.config.checkpoint_every if saved is None else state.step
        begun = self.running.begun = time.perf_counter() - state.seconds - self.compiling
        good = state
        try:
            if saved is not None:
                self.running.restore(saved.tensors)
            while not state.stopped_by:
                show(state)
                if self._due(state):
                    state = self._evaluated(state)
                    if self.callback is not None and self.callback(state.history[-1]):
                        state = replace(state, stopped_by="callback")
                state = replace(state, stopped_by=self._ends(state) or state.stopped_by)
                if state.stopped_by or state.step - written >= self.config.checkpoint_every:
                    self._save(state)
                    written = state.step
                if not state.stopped_by:
                    state, good = self._window(state, good, begun)
        except KeyboardInterrupt:
            if not state.stopped_by:
                # What is saved has no end yet: the same call goes on from it.
                self._save(state)
                state = replace(state, stopped_by="interrupted")
        finally:
            load_weights(self.running.flow, state.kept())
        show(state)
        return state

    def _due(self, state: State) -> bool:
        if state.history and state.history[-1].step == state.step:
            return False
        over = bool(self.plan.over(state.step, state.seconds))
        return over or state.step % self.plan.evaluate_every == 0

    def _ends(self, state: State) -> str:
        """Return what ends the run here, or an empty string."""
        if not self.running.parameters:
            return "nothing to train"
        if self.config.patience is not None and state.stale >= self.config.patience:
            return "early stopping"
        return self.plan.over(state.step, state.seconds)

    def _rate(self, step: int, begun: float) -> float:
        seconds = 0.0 if self.plan.seconds is None else time.perf_counter() - begun
        return self.config.peak * self.plan.rate(self.plan.progress(step, seconds))

    def _window(self, state: State, good: State, begun: float) -> tuple[State, State]:
        """Take the steps of a window; return the next state, and the last one whose weights are good.

        After a bad step the window is repeated up to it, and left there: later windows begin behind it,
        at half the rate. If it is the window's first, the weights that met it may be the cause, and
        those of ``good`` are taken, which finite steps have been taken from.
        """
        first = state.step
        last = self.plan.window_end(first, state.seconds / first if first else 0.0)

        def rate(step: int) -> float:
            return state.scale * self._rate(step, begun)

        total, bad, finite = self._steps(first, last, rate)
        if bad is None:
            return self._after(state, last, total, last - first, begun), state
        event = diagnose(self.running, bad, state.scale / 2, loss_was_finite=finite)
        if len(state.events) + 1 > self.config.max_bad_steps:
            raise give_up(event, len(state.events) + 1, self.config, self.running.flow)
        report(event)
        if bad > first:
            self.running.restore(state.tensors)
            total, again, _ = self._steps(first, bad, rate)
            good = state
        else:
            total, again = 0.0, bad
        if again is not None:
            self.running.restore(good.tensors)
        after = self._after(state, bad + 1, total, bad - first, begun)
        return replace(after, scale=state.scale / 2, events=(*state.events, event)), good

    def _steps(self, first: int, last: int, rate: Callable[[int], float]) -> tuple[float, int | None, bool]:
        """Take steps; return their summed loss, the first bad one, and whether its loss was finite."""
        losses, norms = (found.cpu() for found in self.running.run(first, last, rate))
        bad = first_bad(losses, norms)
        if bad is None:
            return float(losses.double().sum()), None, True
        return 0.0, first + bad, math.isfinite(float(losses[bad]))

    def _after(self, state: State, step: int, total: float, count: int, begun: float) -> State:
        return replace(
            state,
            tensors=self.running.capture(),
            step=step,
            seconds=time.perf_counter() - begun,
            rate=self.running.rate,
            total=state.total + total,
            count=state.count + count,
        )

    def _evaluated(self, state: State) -> State:
        """Measure the held-out rows, and keep the weights if they are the best so far."""
        nats, best, stale = math.nan, state, 0
        if self.held is not None:
            size = max(4096, self.plan.rows // self.plan.batches)
            with self.running.averaged() as flow:
                nats = held_out_nats(flow, self.held, size)
                # NaN and infinity are never better; and nothing is, to begin with, better than a number.
                if math.isfinite(nats) and not nats >= state.best_nats:
                    best = replace(
                        state, best=copied(weights_of(flow)), best_step=state.step, best_nats=nats
                    )
            gained = not nats >= state.best_nats - self.config.min_delta and math.isfinite(nats)
            stale = 0 if gained else state.stale + 1
        entry = Evaluation(
            step=state.step,
            epoch=state.step / self.plan.batches,
            seconds=state.seconds,
            train_nats=state.total / state.count if state.count else math.nan,
            held_out_nats=nats,
            learning_rate=state.rate,
        )
        return replace(best, stale=stale, total=0.0, count=0, history=(*state.history, entry))

    def _save(self, state: State) -> None:
        if self.path is not None:
            files.save(self.path, state, self.belongs_to)
