"""Memory that is used again and again."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

#: Numbers that lie free, at most, while a size is asked for that is not there: batches of many sizes would
#: otherwise leave memory of each behind them. 2²⁶ of them are 256 MiB.
MOST_FREE = 2**26


class Pool:
    """Memory that was used before: to ask the system for it anew, page by page, takes longer than a layer.

    It may be used by several threads.

    >>> pool = Pool()
    >>> first = pool.take(4)
    >>> pool.give(first)
    >>> pool.take(5).data_ptr() == first.data_ptr(), pool.take(4).data_ptr() == first.data_ptr()
    (True, False)
    """

    def __init__(self) -> None:
        self._free: dict[int, list[Tensor]] = {}  # the size that was used last is last
        self._numbers = 0
        self._lock = threading.Lock()

    def take(self, numbers: int, *, exact: bool = False) -> Tensor:
        """Return so many float32 numbers, of any value; or some more, unless it has to be ``exact``.

        Batches that differ by a row then find the same memory.
        """
        if not exact:
            grain = max(64, 1 << max(numbers.bit_length() - 5, 0))
            numbers = -(-numbers // grain) * grain
        with self._lock:
            found = self._free.pop(numbers, [])
            if found:
                self._free[numbers] = found
                self._numbers -= numbers
                return found.pop()
            while self._free and self._numbers + numbers > MOST_FREE:
                oldest = next(iter(self._free))
                self._numbers -= oldest * len(self._free.pop(oldest))
        # Whatever torch's defaults are: the kernels read addresses.
        return torch.empty(numbers, dtype=torch.float32, device="cpu")

    def give(self, *tensors: Tensor | None) -> None:
        """Take memory back that is not read any more."""
        with self._lock:
            for tensor in tensors:
                if tensor is not None:
                    self._free.setdefault(tensor.numel(), []).append(
                        tensor if tensor.ndim == 1 else tensor.view(-1)
                    )
                    self._numbers += tensor.numel()
