"""Row isolation: a hostile value stays in its row, in values and in gradients.

A user who masks a bad row multiplies its gradient by zero, and 0 × inf = NaN: one infinite local
derivative anywhere in that row then poisons the gradient of every parameter. So every local derivative
must be finite for *every* input, NaN and infinity included. Two rules achieve it:

1. a formula sees only inputs within :func:`safe_limit`; others are replaced *before* the formula and
   their result is selected afterwards from an expression that has no gradient towards parameters;
2. a conditioner sees its inputs clamped (:func:`conditioner_input`). That costs no exactness: a
   coupling may use any function of x₁, and one that is constant beyond ±10⁶ is such a function.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Conditioners see inputs clamped to this range (in the flow's own, standardised, units).
CONDITIONER_LIMIT = 1e6


def safe_limit(dtype: torch.dtype) -> float:
    """Return the largest magnitude at which formulas are evaluated with all their gradients.

    Products of two such values, as they arise in gradients, are still finite.

    >>> safe_limit(torch.float32), safe_limit(torch.float64)
    (1e+16, 1e+150)
    """
    return 1e150 if dtype == torch.float64 else 1e16


def split_safe(u: Tensor, limit: float | None = None) -> tuple[Tensor, Tensor]:
    """Return where ``|u|`` is within the limit, and ``u`` with every other value replaced by 0."""
    ok = u.abs() <= (safe_limit(u.dtype) if limit is None else limit)  # False for NaN
    return ok, torch.where(ok, u, 0.0)


def conditioner_input(x: Tensor) -> Tensor:
    """Return ``x`` clamped to ±:data:`CONDITIONER_LIMIT`, with NaN replaced by 0."""
    return torch.nan_to_num(x, nan=0.0).clamp(-CONDITIONER_LIMIT, CONDITIONER_LIMIT)


def sum_event(x: Tensor, event_ndim: int) -> Tensor:
    """Sum over the last ``event_ndim`` dimensions."""
    return x.flatten(-event_ndim).sum(-1) if event_ndim > 1 else x.sum(-1)


def bounded(raw: Tensor, bound: float) -> Tensor:
    """Return bound · tanh(raw / bound): smooth, in (−bound, bound), slope 1 and value 0 at 0."""
    return bound * torch.tanh(raw / bound)
