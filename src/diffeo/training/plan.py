"""The plan of a run: which rows each step sees, at what rate, and when it pauses to look."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffeo.training.config import TrainConfig

#: Steps that run before the host reads their losses back.
WINDOW = 32

#: Rows of a batch, at most, where the clock ends a run of so many seconds or less.
_SHORT, _SHORT_SECONDS = 256, 120.0


@dataclass(frozen=True)
class Plan:
    """What follows from the configuration and the number of training rows.

    Attributes:
        rows: training rows.
        batches: steps an epoch.
        steps: the last step, None where only the clock ends the run.
        ends: the name of the limit that ``steps`` comes from.
        seconds: the time budget, or None.
        warmup: the fraction of the run over which the rate rises.
        evaluate_every: steps between evaluations.

    >>> plan = plan_for(90, TrainConfig(max_epochs=10))
    >>> plan.batches, plan.steps, plan.batch(4)
    (3, 30, (1, 30, 60))
    """

    rows: int
    batches: int
    steps: int | None
    ends: str
    seconds: float | None
    warmup: float
    evaluate_every: int

    def batch(self, step: int) -> tuple[int, int, int]:
        """Return the epoch of a step, and the slice of that epoch's order which is its batch."""
        epoch, k = divmod(step, self.batches)
        return epoch, self.rows * k // self.batches, self.rows * (k + 1) // self.batches

    def progress(self, step: int, seconds: float) -> float:
        """Return the fraction of the run that is over, in [0, 1]."""
        by_steps = step / self.steps if self.steps else 0.0
        by_clock = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(by_steps, by_clock))

    def rate(self, progress: float) -> float:
        """Return the learning rate as a fraction of its peak: a linear rise, then a half cosine.

        Source of the cosine: Loshchilov & Hutter, *SGDR* (2017), equation 5.
        """
        if progress < self.warmup:
            return max(progress / self.warmup, 0.01)
        return 0.5 * (1 + math.cos(math.pi * (progress - self.warmup) / (1 - self.warmup)))

    def window_end(self, step: int, seconds_a_step: float) -> int:
        """Return where the window that starts at ``step`` ends.

        Without a time budget this depends on the step alone: a resumed run has the same windows.
        """
        length = WINDOW
        if self.seconds is not None:
            # No more than half of what is left, so that the last windows are short and none overruns the
            # budget; and no more than a hundredth of the budget or a second, so that slow steps are seen.
            left = min(max(self.seconds / 100, 1.0), (self.seconds - step * seconds_a_step) / 2)
            length = max(1, min(WINDOW, int(left / seconds_a_step) if seconds_a_step > 0 else 1))
        end = (step // length + 1) * length
        end = min(end, (step // self.evaluate_every + 1) * self.evaluate_every)
        return end if self.steps is None else min(end, self.steps)

    def over(self, step: int, seconds: float) -> str:
        """Return the name of the limit that was reached, or an empty string."""
        if self.steps is not None and step >= self.steps:
            return self.ends
        return "time budget" if self.seconds is not None and seconds >= self.seconds else ""


def plan_for(rows: int, config: TrainConfig, apart: int = 25) -> Plan:
    """Return the plan for a number of training rows; ``apart``, the fewest steps between evaluations."""
    size = config.batch_size or default_batch_size(rows, config.time_budget if config.by_clock else None)
    # At least two rows in every batch: batch normalisation needs a variance.
    batches = max(1, min(math.ceil(rows / size), rows // 2))
    limits = {"max_steps": config.max_steps}
    limits["max_epochs"] = config.max_epochs * batches if config.max_epochs else None
    given = {name: limit for name, limit in limits.items() if limit is not None}
    if not given and config.time_budget is None:
        given = {"max_steps": min(max(100 * batches, 2_000), 30_000)}
    ends = min(given, key=lambda name: given[name]) if given else ""
    return Plan(
        rows=rows,
        batches=batches,
        steps=given[ends] if given else None,
        ends=ends,
        seconds=config.time_budget,
        warmup=config.warmup,
        evaluate_every=config.evaluate_every or min(max(batches, apart), 1_000),
    )


def default_batch_size(rows: int, seconds: float | None = None) -> int:
    """Return the power of two nearest to 2 √rows, within [32, 2048].

    Where a clock ends the run, many steps of few rows come further: 256 at most in two minutes or less,
    and more in proportion to the time.

    >>> [default_batch_size(10**k) for k in (2, 3, 4, 5, 6)]
    [32, 64, 256, 512, 2048]
    >>> [default_batch_size(10**6, seconds) for seconds in (10.0, 120.0, 480.0, 3600.0)]
    [256, 256, 1024, 2048]
    """
    size = min(max(2 ** round(math.log2(2 * math.sqrt(rows))), 32), 2048)
    return size if seconds is None else min(size, _SHORT * max(1, int(seconds / _SHORT_SECONDS)))
