"""Many rows through a bijection: without gradients in parts that fit, and by the compiled kernels.

The caller's ``no_grad`` is kept, and not made an ``inference_mode``. Its tensors may not be saved for a
gradient later: whatever a user's own part keeps between two calls would raise, far from here. Within one,
``enable_grad`` records nothing: a part that differentiates in its pass would fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.flows.accelerated import evaluated
from diffeo.flows.parts import rows_together
from diffeo.kernels import triton
from diffeo.kernels.native import kept, library
from diffeo.kernels.recorded import transformed
from diffeo.kernels.tiles import TILE

if TYPE_CHECKING:
    from diffeo.flows.flow import Flow

#: Products of numbers, rows times parameters, for which the kernels are compiled if they are not yet: some
#: seconds' worth.
WORTH = 10**11


def through(flow: Flow, value: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
    """Return what the flow's bijection, or its inverse, makes of ``value``, and the log-determinant."""
    bijection = flow.bijection
    event_ndim = bijection.event_ndim
    batch = value.shape[: value.ndim - event_ndim]
    if context is not None and context.shape[:-1] != batch:
        # Not asked where shapes agree: the first call of it imports torch's compiler, which takes seconds.
        batch = torch.broadcast_shapes(batch, context.shape[:-1])
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or transformed(value):
        return (bijection.inverse if inverse else bijection)(value, context)
    if _kernels(flow, batch.numel()):
        bijection = evaluated(flow, bijection)
    direction: Any = bijection.inverse if inverse else bijection
    event = value.shape[value.ndim - event_ndim :]
    together = batch.numel()
    if together > TILE:
        together = rows_together(bijection, event, value.itemsize)
    if batch.numel() <= together:
        return direction(value, context)
    if context is not None:
        context = context.expand(*batch, -1).reshape(-1, context.shape[-1])
    rows = value.expand(*batch, *event).reshape(-1, *event)
    y, log_det = torch.empty_like(rows), rows.new_empty(len(rows))
    for start in range(0, len(rows), together):
        part = slice(start, start + together)
        y[part], log_det[part] = direction(rows[part], None if context is None else context[part])
    return y.reshape(*batch, *event), log_det.reshape(batch)


def _kernels(flow: Flow, rows: int) -> bool:
    """Return whether the kernels are there for this flow, compiling them where that is worth it."""
    device = flow.base.device.type
    if flow.dtype != torch.float32 or device not in ("cpu", "cuda") or torch.is_autocast_enabled(device):
        return False
    if device == "cuda":
        return triton.available()
    if not kept() and rows * sum(p.numel() for p in flow.parameters()) < WORTH:
        return False
    return library() is not None
