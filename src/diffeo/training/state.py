"""Everything that a resume needs, as one value that each window replaces."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from diffeo.training.config import TrainConfig
from diffeo.training.optimisation import Tensors
from diffeo.training.result import BadStep, Evaluation, FitResult


@dataclass(frozen=True)
class State:
    """Where a run is. The order of the rows, noise and dropout follow from the seed and ``step``.

    Attributes:
        tensors: weights, optimizer and average.
        step: steps done.
        seconds: time spent, earlier parts of a resumed run included.
        scale: the guard's factor on the learning rate.
        rate: the learning rate of the last step.
        total, count: sum and number of the losses since the last evaluation.
        best: the best weights so far, empty before there are any.
        best_step, best_nats: when, and how good.
        stale: evaluations since the last improvement.
        history, events: what the result will hold.
        stopped_by: what ended the run, empty while it goes on.
    """

    tensors: Tensors
    step: int = 0
    seconds: float = 0.0
    scale: float = 1.0
    rate: float = 0.0
    total: float = 0.0
    count: int = 0
    best: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    best_step: int = 0
    best_nats: float = math.nan
    stale: int = 0
    history: tuple[Evaluation, ...] = ()
    events: tuple[BadStep, ...] = ()
    stopped_by: str = ""

    def kept(self) -> dict[str, Tensor]:
        """Return the weights that the flow should have if the run ended here."""
        return self.best or {**self.tensors.weights, **self.tensors.average}

    def result(self, config: TrainConfig, unit: str) -> FitResult:
        """Return what :func:`diffeo.fit` returns."""
        return FitResult(
            history=self.history,
            events=self.events,
            best_step=self.best_step if self.best else self.step,
            best_held_out_nats=self.best_nats,
            stopped_by=self.stopped_by,
            seconds=self.seconds,
            steps=self.step,
            config=config,
            unit=unit,
        )
