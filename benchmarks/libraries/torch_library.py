"""What the adapters of PyTorch libraries share: eager mode and torch.optim.Adam, as they document."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.libraries.library import RATE, Array, Library, batches, chunks, looked_at


@dataclass(frozen=True)
class Loop:
    """The training loop of a library's own examples."""

    batch: int
    rate: float
    decay: float = 0.0


def stepped(
    density: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    rows: Sequence[Tensor],
    at: int,
    steps: int,
) -> float:
    """Take steps of −mean log p from the batch ``at`` on, as users write them; return the last loss."""
    loss = torch.tensor(np.nan)
    for k in range(at, at + steps):
        optimizer.zero_grad()
        loss = -density(rows[k % len(rows)]).mean()
        loss.backward()
        optimizer.step()
    if rows[0].is_cuda:
        torch.cuda.synchronize()
    return float(loss.detach())


class TorchLibrary(Library):
    """A flow that is a torch module."""

    #: Of the library's first example.
    loop = Loop(batch=128, rate=1e-3)

    flow: nn.Module

    @abstractmethod
    def make(self, case: Case) -> nn.Module:
        """Return the flow of a case."""

    @abstractmethod
    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""

    @abstractmethod
    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""

    def build(self, case: Case) -> None:
        """Make the flow, its optimizer and its rows."""
        self.case, self.device, self.at = case, torch.device(case.device), 0
        if case.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32, which the peers leave to their users
            self.precision = "TF32"
        torch.manual_seed(0)
        self.flow = self.make(case).to(self.device)
        self.flow.train(case.work == "train")
        if case.work == "train":
            self.rows = [torch.from_numpy(rows).to(self.device) for rows in batches(case)]
            self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=RATE)
        elif case.work == "log_prob":
            found, self.count = chunks(case)
            self.rows = [torch.from_numpy(rows).to(self.device) for rows in found]

    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(p.numel() for p in self.flow.parameters() if p.requires_grad)

    def train(self, steps: int) -> float:
        """Take steps of Adam."""
        loss = stepped(self.density, self.optimizer, self.rows, self.at, steps)
        self.at += steps
        return loss

    @torch.no_grad()
    def log_prob(self) -> float:
        """Compute all densities."""
        total = 0.0
        for k in range(self.count):
            total += float(self.density(self.rows[k % len(self.rows)]).sum())
        return total / self.case.rows

    @torch.no_grad()
    def sample(self) -> float:
        """Draw, and read one number, which waits for the device."""
        return float(self.draw(self.case.rows)[0, 0])

    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Shuffle, batch and step with Adam, as the examples do (without a DataLoader, which is slower)."""
        rows, others = (torch.from_numpy(part).to(self.device) for part in (train, held))
        size = min(batch or self.loop.batch, len(rows))
        optimizer = torch.optim.Adam(
            self.flow.parameters(), lr=self.loop.rate, weight_decay=self.loop.decay
        )

        def epoch() -> Iterator[None]:
            order = torch.randperm(len(rows), device=self.device)
            for index in order[: len(rows) // size * size].split(size):
                optimizer.zero_grad()
                loss = -self.density(rows[index]).mean()
                loss.backward()
                optimizer.step()
                yield

        yield from looked_at(epoch, lambda: self.nats(others), seconds)

    @torch.no_grad()
    def nats(self, rows: Tensor) -> float:
        """Return the mean of log p in evaluation mode, NaN if it cannot be computed."""
        self.flow.eval()
        try:
            total = sum(float(self.density(x).double().sum()) for x in rows.split(4096))
        except (AssertionError, RuntimeError, ValueError):
            total = float("nan")
        self.flow.train()
        return total / len(rows)
