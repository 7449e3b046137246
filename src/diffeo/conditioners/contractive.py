"""A network that brings any two points closer together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, hidden_sizes
from diffeo.errors import number, one_of
from diffeo.kernels.lipschitz import stretch_bound
from diffeo.kernels.safe import CONDITIONER_LIMIT, conditioner_input
from diffeo.kernels.tiles import even_linear


class Weights(NamedTuple):
    """The network's weights, scaled, and its biases with what the context adds: made for one pass."""

    matrices: list[Tensor]
    biases: list[Tensor]


class ContractiveNetwork(nn.Module):
    """g(x) = W_L σ(… σ(W₁ x + V c + b₁) …) + b_L, with ‖g(x) − g(x′)‖ ≤ lipschitz · ‖x − x′‖ always.

    Each of the L matrices is scaled down to a spectral norm of at most lipschitz^(1/L), by
    :func:`~diffeo.kernels.lipschitz.stretch_bound`, and σ has slopes within ±1. W_L and b_L start at 0.
    g sees x clamped to ±10⁶: of a clamped x it is a contraction too. It is only a part of the bijection
    that it is made for, and none of a model file.
    """

    def __init__(
        self, features: int, hidden: Sequence[int], context: int, lipschitz: float, activation: str
    ) -> None:
        super().__init__()
        number("lipschitz", lipschitz, above=0, below=1)
        one_of("activation", activation, ("lipswish", "tanh"))
        widths = [features, *hidden_sizes(hidden), features]
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.given = Linear(context, widths[1], bias=False) if context else None
        self.most = lipschitz ** (1 / len(self.layers))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def weights(self, context: Tensor | None) -> Weights:
        """Return the scaled matrices and the biases, the first of each row where there is a context."""
        matrices: list[Tensor] = []
        biases: list[Tensor] = []
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            stretch = stretch_bound(layer.weight)
            matrices.append(layer.weight * (self.most / torch.clamp(stretch, min=self.most)))
            biases.append(layer.bias)
        if self.given is not None and context is not None:
            biases[0] = biases[0] + self.given(context)
        return Weights(matrices, biases)

    def forward(self, x: Tensor, weights: Weights) -> Tensor:
        """Return g(x) of rows."""
        h = conditioner_input(x)
        for k, (matrix, bias) in enumerate(zip(*weights, strict=True)):
            h = even_linear(self._bent(h)[0] if k else h, matrix) + bias
        return h

    def slopes(self, x: Tensor, weights: Weights) -> list[Tensor]:
        """Return what stands between the matrices in ∂g/∂x: the clamp's slopes, then those of σ."""
        h, slopes = conditioner_input(x), [(x.abs() <= CONDITIONER_LIMIT).to(x.dtype)]
        for matrix, bias in zip(weights.matrices[:-1], weights.biases[:-1], strict=True):
            h, slope = self._bent(even_linear(h, matrix) + bias)
            slopes.append(slope)
        return slopes

    def turn(self, directions: Tensor, slopes: list[Tensor], weights: Weights) -> Tensor:
        """Return ∂g/∂x times each of n directions in each row, (rows, n, D)."""
        rows, count = directions.shape[:2]
        for slope, matrix in zip(slopes, weights.matrices, strict=True):
            flat = (directions * slope.unsqueeze(1)).flatten(0, 1)
            directions = even_linear(flat, matrix).unflatten(0, (rows, count))
        return directions

    def _bent(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return σ(h) and σ′(h)."""
        if self.activation == "tanh":
            bent = torch.tanh(h)
            return bent, 1 - bent * bent
        gate = torch.sigmoid(h)
        return h * gate / 1.1, (gate + h * gate * (1 - gate)) / 1.1
