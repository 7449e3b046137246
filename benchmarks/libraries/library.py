"""What an adapter is: it builds the flow of a case, and does the work of it."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from benchmarks.cases import CHUNK, Case

Array = npt.NDArray[np.float32]

#: Adam's learning rate, in every library.
RATE = 1e-3

#: Batches that training steps go through in turn.
BATCHES = 8


class Lacks(Exception):
    """A library does not have what the case asks for; the message says what."""


class Library(ABC):
    """One library. ``build`` is called before any work; each method returns when its work is done.

    Attributes:
        differs: how the flow that was built differs from the case, empty if it does not.
        precision: of the matrix products.
    """

    differs = ""
    precision = "float32"

    def __init__(self, variant: str = "") -> None:
        self.variant = variant

    @abstractmethod
    def build(self, case: Case) -> None:
        """Make the flow, and put the rows where its work needs them; raise :class:`Lacks`."""

    @abstractmethod
    def parameters(self) -> int:
        """Return how many numbers are trained."""

    @abstractmethod
    def train(self, steps: int) -> float:
        """Take steps of Adam; return the last loss."""

    @abstractmethod
    def log_prob(self) -> float:
        """Return the mean log-density of ``rows`` rows, computed ``CHUNK`` at a time."""

    @abstractmethod
    def sample(self) -> float:
        """Draw ``rows`` rows; return their mean."""

    @abstractmethod
    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Train as the library's own documentation does; yield seconds so far, held-out nats a row.

        The clock stands still while held-out rows are measured.

        Args:
            train: rows.
            held: other rows.
            seconds: the budget.
            batch: rows a step; None takes what the documentation takes.
        """

    def run(self, case: Case, times: int) -> float:
        """Do the work of a case a number of times; return a number that depends on its result."""
        if case.work == "train":
            return self.train(times)
        answer = math.nan
        for _ in range(times):
            answer = self.log_prob() if case.work == "log_prob" else self.sample()
        return answer


def looked_at(
    epoch: Callable[[], Iterator[None]], nats: Callable[[], float], seconds: float, looks: int = 24
) -> Iterator[tuple[float, float]]:
    """Go through epochs until the time is over; yield seconds so far, held-out nats a row.

    The clock stands still while held-out rows are measured.
    """
    spent, due, begun = 0.0, 1, time.perf_counter()
    while True:
        for _ in epoch():
            now = spent + time.perf_counter() - begun
            if now >= due * seconds / looks or now >= seconds:
                spent, due = now, int(looks * now / seconds) + 1
                yield spent, nats()
                if spent >= seconds:
                    return
                begun = time.perf_counter()


def batches(case: Case) -> list[Array]:
    """Return the batches of a training case: standard normal rows."""
    draws = np.random.default_rng(0)
    return [draws.standard_normal((case.rows, case.features), dtype=np.float32) for _ in range(BATCHES)]


def chunks(case: Case) -> tuple[list[Array], int]:
    """Return at most ten chunks of rows, and how many chunks make up the case (in turn)."""
    size = min(CHUNK, case.rows)
    count = math.ceil(case.rows / size)
    draws = np.random.default_rng(0)
    shape = size, case.features
    return [draws.standard_normal(shape, dtype=np.float32) for _ in range(min(count, 10))], count
