"""Whether operations on a tensor are recorded or transformed: a compiled kernel would not be seen then."""

from __future__ import annotations

import torch
from torch import Tensor


def transformed(value: Tensor) -> bool:
    """Return whether operations on ``value`` are recorded (traced, exported) or transformed (functorch).

    So are those within forward-mode derivatives, and those on a subclass of tensors.

    >>> seen = []
    >>> _ = torch.vmap(lambda x: (seen.append(transformed(x)), x)[1])(torch.ones(2))
    >>> transformed(torch.ones(2)), seen
    (False, [True])
    """
    recorders: int = torch._C._len_torch_dispatch_stack()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    if recorders or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        return True
    functorch = torch._C._functorch  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    if functorch.peek_interpreter_stack() is not None or type(value) not in (Tensor, torch.nn.Parameter):
        return True
    return torch.autograd.forward_ad._current_level >= 0  # pyright: ignore[reportPrivateUsage]
