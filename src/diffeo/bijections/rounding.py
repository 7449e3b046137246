"""How far a round trip can be trusted: the predicted error, row by row.

A map h_K = f_K(… f_1(h_0)) computed in finite precision commits, in layer k, a rounding of about
ε · m_k; undoing the first k layers multiplies it by J_{1..k}⁻¹. To first order, the round-trip error is

    predicted = ε · Σ_k ‖J_{1..k}⁻¹ diag(m_k)‖₂.

Every layer counts: the same formula with only the last Jacobian misses errors by five orders of
magnitude, because an intermediate layer may be far worse conditioned than the whole.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.chain import layers_of

#: A row whose predicted error is below this is trusted; measured errors stay below 10 × predicted.
TRUST = 1e-4


class Decoded(NamedTuple):
    """What ``decode(check=True)`` returns: values, predicted round-trip error a row, and trust."""

    value: Tensor
    predicted_error: Tensor
    trusted: Tensor


@torch.no_grad()
def predicted_error(
    bijection: Bijection, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Tensor:
    """Return the predicted error of the round trip that starts at ``value``, one figure a row.

    With ``inverse=False`` the trip is z → x → z, with ``inverse=True`` x → z → x; the error is in the
    units of ``value``. Jacobians are computed in float64, at the precision ``value.dtype`` is asked about.
    A row that is not finite on the way has an infinite predicted error. Cost: D backward passes.
    """
    event_ndim = bijection.event_ndim
    event = value.shape[value.ndim - event_ndim :]
    batch, size = value.shape[: value.ndim - event_ndim], event.numel()
    exact = copy.deepcopy(bijection).double().eval()
    layers = [layer for _, layer in layers_of(exact)]
    rows = value.reshape(-1, *event).double()
    given = None
    if context is not None:
        given = context.double().expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
    eye = torch.eye(size, dtype=torch.float64, device=value.device)
    undo = eye.expand(rows.shape[0], size, size)
    total = rows.new_zeros(rows.shape[0])
    for layer in reversed(layers) if inverse else layers:
        there, back = (layer.inverse, layer.forward) if inverse else (layer.forward, layer.inverse)
        after, _ = there(rows, given)
        undo = undo @ _jacobian(back, after, given)
        scale = layer.rounding_scale(rows, after, inverse=inverse).reshape(-1, 1, size)
        terms = undo * scale
        finite = terms.isfinite().flatten(1).all(-1)
        norm = torch.linalg.matrix_norm(torch.where(finite[:, None, None], terms, 0.0), 2)
        total = total + torch.where(finite, norm, torch.inf)
        rows = after
    return (torch.finfo(value.dtype).eps * total).reshape(batch)


def _jacobian(method: Any, at: Tensor, context: Tensor | None) -> Tensor:
    """Return ∂method(y, context)/∂y at y = ``at`` for each row, as (rows, D, D), by D backward passes."""
    # Reverse mode: loading torch's forward mode compiles, and warns, on first use.
    with torch.enable_grad():
        leaf = at.detach().clone().requires_grad_()
        value = method(leaf, context)[0].reshape(at.shape[0], -1)
        rows: list[Tensor] = []
        for j in range(value.shape[1]):
            column, slope = value[:, j].sum(), None
            if column.requires_grad:
                (slope,) = torch.autograd.grad(column, leaf, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(value) if slope is None else slope.reshape(value.shape))
    return torch.stack(rows, -2).detach()
