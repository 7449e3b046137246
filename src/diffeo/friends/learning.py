"""Learning by steps, for the friends that do: batches, a clock, and an orderly end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import TrainingError, at_least, number
from diffeo.friends.protocol import Report
from diffeo.training.seeds import generator

#: Steps in a row without a finite gradient that end a fit.
_FORGIVEN = 50


@dataclass(frozen=True)
class Steps:
    """How many steps are taken, of how many rows, and how large they are.

    Args:
        most: steps at most; None for ``usual``, or as many as fit in the time if there is a budget.
        usual: steps where nothing else is said.
        batch: rows of a step.
        seed: of the order of the rows.
    """

    most: int | None
    usual: int
    batch: int
    seed: int

    def __post_init__(self) -> None:
        at_least("max_steps", self.most, 1, optional=True)
        at_least("batch_size", self.batch, 2)
        at_least("seed", self.seed, 0)
        number("seed", self.seed, below=2**63)


@dataclass(frozen=True)
class Outcome:
    """How a fit ended."""

    steps: int
    stopped_by: str


def learn(
    count: int,
    steps: Steps,
    step: Callable[[Tensor, float], bool],
    look: Callable[[int], tuple[str, bool]],
    *,
    every: int,
    begun: float,
    seconds: float | None,
    report: Report | None,
) -> Outcome:
    """Take steps until there are enough, the time is over, ``look`` has seen enough, or Ctrl-C.

    Args:
        count: how many rows there are.
        steps: how many steps, of how many rows.
        step: takes one, given the numbers of its rows and how far the run is (0 to 1); false if it was
            left out, for a gradient that was not finite.
        look: called every so many steps and at the end; says how it goes, and whether that is enough.
        every: how many.
        begun: when the fit began, by time.perf_counter().
        seconds: the time budget, counted from there.
        report: told what ``look`` says.

    Raises:
        TrainingError: 50 steps in a row were left out.
    """
    most = steps.most if steps.most is not None else (steps.usual if seconds is None else None)
    stopped_by, taken, bad = "", 0, 0
    batches = _batches(count, steps)
    try:
        while not stopped_by:
            elapsed = time.perf_counter() - begun
            done = taken / most if most else 0.0
            progress = max(done, elapsed / seconds) if seconds else done
            if progress >= 1:
                stopped_by = "max_steps" if done >= 1 else "time_budget"
                break
            bad = 0 if step(next(batches), progress) else bad + 1
            if bad == _FORGIVEN:
                raise TrainingError(
                    f"the gradients of {bad} steps in a row were not finite; expected numbers: lower "
                    "learning_rate, or look for rows far away from all others."
                )
            taken += 1
            if taken % every == 0:
                told, enough = look(taken)
                _tell(report, taken, time.perf_counter() - begun, told)
                stopped_by = "early stopping" if enough else ""
    except KeyboardInterrupt:
        stopped_by = "interrupted"
    if taken % every and stopped_by != "interrupted":
        _tell(report, taken, time.perf_counter() - begun, look(taken)[0])
    return Outcome(taken, stopped_by)


def _tell(report: Report | None, taken: int, elapsed: float, told: str) -> None:
    if report is not None:
        report(f"step {taken}, {elapsed:.0f} s: {told}")


def _batches(count: int, steps: Steps) -> Iterator[Tensor]:
    """Yield the numbers of the rows of each step: every epoch in an order of its own."""
    epoch, size = 0, min(steps.batch, count)
    while True:
        order = torch.randperm(count, generator=generator(steps.seed, "order", epoch))
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]
        epoch += 1


def clipped(parameters: list[torch.nn.Parameter], most: float = 10.0) -> bool:
    """Scale gradients down to a norm; return whether they are finite."""
    return bool(torch.nn.utils.clip_grad_norm_(parameters, most).isfinite())
