"""Reordering of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.errors import ConfigError, at_least
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.Permutation")
class Permutation(Bijection):
    """xᵢ = z_{order[i]}; the log-determinant is 0.

    Args:
        order: a permutation of 0 … D−1.

    >>> Permutation([2, 0, 1])(torch.tensor([10.0, 20.0, 30.0]))[0]
    tensor([30., 10., 20.])
    """

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        whole = isinstance(order, list | tuple) and all(type(k) is int for k in order)
        if not whole or not order or sorted(order) != list(range(len(order))):
            raise ConfigError(f"order={order!r:.80} must be a permutation of 0 … D − 1, as [2, 0, 1].")
        self.event_shape = torch.Size([len(order)])
        there = torch.tensor(list(order))
        # The argument says it all: a file that held them too could contradict it.
        self.register_buffer("order", there, persistent=False)
        self.register_buffer("back", torch.argsort(there), persistent=False)

    @classmethod
    def reverse(cls, features: int) -> Self:
        """Return the permutation that reverses the features."""
        at_least("features", features, 1)
        return cls(list(range(features))[::-1])

    @classmethod
    def random(cls, features: int, seed: int = 0) -> Self:
        """Return a random permutation, fixed by ``seed``."""
        at_least("features", features, 1)
        at_least("seed", seed, 0)
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randperm(features, generator=generator).tolist())

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the reordered features and 0."""
        check_event("z", z, self.event_shape)
        return z.index_select(-1, self.get_buffer("order")), z.new_zeros(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the features in their first order and 0."""
        check_event("x", x, self.event_shape)
        return x.index_select(-1, self.get_buffer("back")), x.new_zeros(x.shape[:-1])
