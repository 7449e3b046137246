"""What a method is: it is given rows, seconds and a seed, and returns a density."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.density.protocol import Array

Rows = NDArray[np.float32]


class Lacks(Exception):
    """A method is not installed here; the message says what is missing."""


@dataclass(frozen=True)
class Fitted:
    """A density: log p of rows in nats and the data's units, and what was fitted, in a few words."""

    log_prob: Callable[[Any], Array]
    told: str


def trained(
    epoch: Callable[[], Iterator[None]],
    look: Callable[[], float],
    keep: Callable[[], None],
    seconds: float,
    patience: int,
) -> str:
    """Train until the time is over or validation nats no longer rise; return how it went.

    The clock is the wall's, compilation and looks included. Besides the look at the end of each epoch there
    is one whenever a tenth of the time has passed, so that long epochs lose nothing.

    Args:
        epoch: goes through the rows once; yields after each step.
        look: returns the validation nats.
        keep: remembers the present weights, which are the best so far.
        seconds: the budget.
        patience: epochs without a rise after which training ends.
    """
    begun = last = time.perf_counter()
    best, cost, steps, epochs, risen = -math.inf, 0.0, 0, 0, 0

    def looked() -> float:
        nonlocal best, cost, last, risen
        now = time.perf_counter()
        value = look()
        if value > best:
            best, risen = value, epochs
            keep()
        last = time.perf_counter()
        cost = last - now
        return value

    why = ""
    while not why:
        for _ in epoch():
            steps += 1
            now = time.perf_counter()
            if now - begun + cost > seconds:
                looked()
                why = "time over"
                break
            if now - last > seconds / 10:
                looked()
        else:
            epochs += 1
            if math.isnan(looked()):
                why = "validation became NaN"
            elif epochs - risen >= patience:
                why = "stopped early"
    if not math.isfinite(best):
        raise FloatingPointError(f"no finite validation density within {steps} steps")
    return f"{steps} steps, {epochs} epochs, {why}"
