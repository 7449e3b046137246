"""Layers of masked networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, activation_of
from diffeo.conditioners.ordered import Graph
from diffeo.kernels.tiles import even_linear


class MaskedLinear(Linear):
    """x (W ⊙ M)ᵀ + b: what the mask M forbids is exactly 0, in value and in gradient."""

    mask: Tensor

    def __init__(self, mask: Graph) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", torch.as_tensor(mask), persistent=False)

    def masked_weight(self) -> Tensor:
        """Return W ⊙ M."""
        return torch.where(self.mask, self.weight, 0.0)

    def forward(self, input: Tensor) -> Tensor:
        """Return x (W ⊙ M)ᵀ + b."""
        weight = self.masked_weight()
        if self.training:
            return nn.functional.linear(input, weight, self.bias)
        return even_linear(input, weight, self.bias)


def zero(layer: MaskedLinear) -> MaskedLinear:
    """Return the layer, its weights and biases set to 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def between(activation: str, dropout: float) -> list[nn.Module]:
    """Return what stands between two linear layers."""
    return [activation_of(activation), *([nn.Dropout(dropout)] if dropout else [])]


class MaskedBlock(nn.Module):
    """h + W₂ σ(W₁ σ(h)), masked."""

    def __init__(self, mask: Graph, activation: str, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            activation_of(activation),
            MaskedLinear(mask),
            activation_of(activation),
            nn.Dropout(dropout),
            MaskedLinear(mask),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return h and what the block adds."""
        return h + self.inner(h)
