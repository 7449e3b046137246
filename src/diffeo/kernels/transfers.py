"""Numbers on their way to a device: from pinned memory, so that a GPU copies while the processor works."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(x: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Return ``x`` on ``device``, as ``dtype`` if one is given.

    To a CUDA device the copy is from pinned memory and not waited for: what is asked of the result is
    queued behind it.

    >>> sent(torch.ones(2), torch.device("cpu"), torch.float64)
    tensor([1., 1.], dtype=torch.float64)
    """
    if device.type != "cuda" or x.device.type != "cpu":
        return x.to(device, dtype)
    return x.pin_memory().to(device, dtype, non_blocking=True)
