"""Memory that is used again and again."""

from __future__ import annotations

import torch
from torch import Tensor


class Pool:
    """Memory that was used before: to ask the system for it anew, page by page, takes longer than a layer.

    It may be used by several threads: lists give and take in one step.

    >>> pool = Pool()
    >>> first = pool.take(4)
    >>> pool.give(first)
    >>> pool.take(4).data_ptr() == first.data_ptr(), pool.take(4).data_ptr() == first.data_ptr()
    (True, False)
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = {}

    def take(self, numbers: int) -> Tensor:
        """Return so many float32 numbers, of any value."""
        try:
            return self._free[numbers].pop()
        except (KeyError, IndexError):
            return torch.empty(numbers)

    def give(self, *tensors: Tensor | None) -> None:
        """Take memory back that is not read any more."""
        for tensor in tensors:
            if tensor is not None:
                self._free.setdefault(tensor.numel(), []).append(
                    tensor if tensor.ndim == 1 else tensor.view(-1)
                )
