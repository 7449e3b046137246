"""The floor: the matrix products of a training step, and nothing else.

Every linear layer takes one product forward, x Wᵀ, and two backward, g W for the gradient of what went in
and gᵀ x for that of its weights. A step of any library that multiplies dense matrices takes at least these.
Products of a masked network are counted as dense, as all libraries here compute them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.libraries.library import Array, Lacks, Library


class Adapter(Library):
    """The products, at the precision that the variant says."""

    def build(self, case: Case) -> None:
        """Make the matrices of every layer."""
        if case.work != "train":
            raise Lacks("the floor is that of a training step")
        self.precision = self.variant.split()[0]
        self.device = torch.device(case.device)
        if case.device == "cpu":
            # On a processor without AMX this changes the route, and not the precision, of a product.
            onednn = "bf16" if self.variant.endswith("oneDNN") else "none"
            torch.backends.mkldnn.matmul.fp32_precision = onednn
        elif self.variant == "float32 oneDNN":
            # There is no oneDNN: the variant is TF32, which the torch peers multiply in.
            self.precision = "TF32"
            torch.set_float32_matmul_precision("high")
        else:
            torch.set_float32_matmul_precision("highest")
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        draws = torch.Generator().manual_seed(0)

        def matrix(rows: int, columns: int) -> Tensor:
            return torch.randn(rows, columns, generator=draws).to(self.device, dtype)

        self.layers: list[tuple[Tensor, Tensor, Tensor]] = []
        for k in range(case.layers):
            for inputs, outputs in _sizes(case, k):
                x, weight = matrix(case.rows, inputs), matrix(outputs, inputs)
                self.layers.append((x, weight, matrix(case.rows, outputs)))

    def parameters(self) -> int:
        """Return the entries of the weights."""
        return sum(weight.numel() for _, weight, _ in self.layers)

    @torch.no_grad()
    def train(self, steps: int) -> float:
        """Multiply."""
        answer = torch.zeros(1)
        for _ in range(steps):
            for x, weight, _ in self.layers:
                answer = x @ weight.T
            for x, weight, g in reversed(self.layers):
                answer = g @ weight
                answer = g.T @ x
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return float(answer[0, 0])

    def log_prob(self) -> float:
        """Refuse."""
        raise Lacks("the floor is that of a training step")

    def sample(self) -> float:
        """Refuse."""
        raise Lacks("the floor is that of a training step")

    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Refuse."""
        raise Lacks("the floor is that of a training step")


def _sizes(case: Case, k: int) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of each linear layer of the k-th conditioner."""
    passed, moved = case.passed if k % 2 == 0 else case.passed[::-1]
    if case.structure == "autoregressive":
        passed = moved = case.features
    return [(passed, case.hidden), (case.hidden, case.hidden), (case.hidden, moved * case.n_params)]
