"""torchflows: bijections from data to noise, in a BijectiveComposition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchflows.bijections.base import BijectiveComposition
from torchflows.bijections.finite.autoregressive import layers as parts
from torchflows.bijections.finite.matrix import ReversePermutationMatrix
from torchflows.flows import Flow

from benchmarks.cases import Case
from benchmarks.libraries.library import Array, looked_at
from benchmarks.libraries.torch_library import TorchLibrary

KINDS = {
    ("affine", "coupling"): parts.AffineCoupling,
    ("spline", "coupling"): parts.RQSCoupling,
    ("affine", "autoregressive"): parts.AffineForwardMaskedAutoregressive,
    ("spline", "autoregressive"): parts.RQSForwardMaskedAutoregressive,
}


class Adapter(TorchLibrary):
    """torchflows."""

    def make(self, case: Case) -> nn.Module:
        """Return the layers of its architectures, without the ActNorms that these put between."""
        network: dict[str, Any] = {"n_hidden": case.hidden, "n_layers": 3}
        if case.structure == "coupling":
            network["nonlinearity"] = nn.ReLU
        law = {"boundary": 3.0, "n_bins": case.bins} if case.law == "spline" else {}
        shape = (case.features,)
        layers: list[nn.Module] = []
        for _ in range(case.layers):
            kind = KINDS[case.law, case.structure]
            layer = kind(shape, conditioner_kwargs=dict(network), transformer_kwargs=dict(law))
            layers += [ReversePermutationMatrix(event_shape=shape), _with_relu(layer)]
        return Flow(BijectiveComposition(layers))

    def density(self, x: Tensor) -> Tensor:
        """Return log p of each row."""
        return self.flow.log_prob(x)

    def draw(self, rows: int) -> Tensor:
        """Return rows of the flow."""
        return self.flow.sample(rows, no_grad=True)

    def fit(
        self, train: Array, held: Array, seconds: float, batch: int | None
    ) -> Iterator[tuple[float, float]]:
        """Call its ``fit``, at a lower rate than its 0.05, as its docstring advises for many parameters.

        It looks at the clock once an epoch: it is therefore given 16 batches at a time, its optimizer kept.
        """
        rows, others, size = torch.from_numpy(train), torch.from_numpy(held), batch or 1024
        self.flow.fit(rows[:size], n_epochs=1, lr=1e-3, batch_size=size)  # makes its optimizer

        def epoch() -> Iterator[None]:
            for index in torch.randperm(len(rows)).split(16 * size):
                self.flow.fit(rows[index], n_epochs=1, lr=1e-3, batch_size=size, reset_optimizer=False)
                yield

        yield from looked_at(epoch, lambda: self.nats(others), seconds)


def _with_relu(layer: nn.Module) -> nn.Module:
    """Put relu in the place of tanh, which its MADE has no argument for."""
    network = layer.conditioner_transform.sequential
    for k, part in enumerate(network):
        if isinstance(part, nn.Tanh):
            network[k] = nn.ReLU()
    return layer
