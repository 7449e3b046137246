"""How far a round trip can be trusted: the predicted error, row by row.

A map h_K = f_K(… f_1(h_0)) computed in finite precision commits, in layer k, a rounding of about
ε · m_k, and its undoing one of about ε · m̃_k at h_{k−1}; undoing the first k layers multiplies them by
J_{1..k}⁻¹ and J_{1..k−1}⁻¹. To first order, the round-trip error is

    predicted = ε · Σ_k ‖J_{1..k}⁻¹ diag(m_k)‖₂ + ‖J_{1..k−1}⁻¹ diag(m̃_k)‖₂.

m_k is the larger of two: the size of the numbers that the layer says it rounds
(:meth:`~diffeo.bijections.Bijection.rounding_scale`), and what its arithmetic is measured to commit, the
layer in float32 beside the layer in float64 at the same point, in units of float32's ε. The second
knows what happens inside a conditioner, where large terms cancel. To it comes what a solver may leave
(:meth:`~diffeo.bijections.Bijection.solving_error`).

Every layer counts: the same formula with only the last Jacobian misses errors by five orders of
magnitude, because an intermediate layer may be far worse conditioned than the whole. A value that the
precision cannot hold (it overflows, or goes under the smallest normal number) commits that much.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.chain import layers_of
from diffeo.bijections.jacobian import jacobian_of

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
    A row that is not finite on the way has an infinite predicted error. Cost: D passes forth and back.
    """
    event_ndim = bijection.event_ndim
    event = value.shape[value.ndim - event_ndim :]
    batch, size = value.shape[: value.ndim - event_ndim], event.numel()
    exact = copy.deepcopy(bijection).double().eval()
    layers = [layer for _, layer in layers_of(exact)]
    coarse = [layer for _, layer in layers_of(copy.deepcopy(bijection).float().eval())]
    rows = value.reshape(-1, *event).double()
    given = None
    if context is not None:
        given = context.double().expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
    eye = torch.eye(size, dtype=torch.float64, device=value.device)
    info = torch.finfo(value.dtype)
    undo = eye.expand(rows.shape[0], size, size)
    total = rows.new_zeros(rows.shape[0])
    pairs = list(zip(layers, coarse, strict=True))
    for layer, rough in reversed(pairs) if inverse else pairs:
        there, back = (layer.inverse, layer.forward) if inverse else (layer.forward, layer.inverse)
        rough_there, rough_back = (
            (rough.inverse, rough.forward) if inverse else (rough.forward, rough.inverse)
        )
        after, _ = there(rows, given)
        jacobian, again = jacobian_of(_value_of(back), after, given)
        undone = undo @ jacobian
        held = after.reshape(-1, size).abs().amax(-1) <= info.max  # False for NaN
        held &= again.isfinite().all(-1)
        for matrix, scale, own, solving in (
            (
                undone,
                layer.rounding_scale(rows, after, inverse=inverse),
                _own(there, rough_there, rows, given),
                layer.solving_error(after, value.dtype, inverse=inverse),
            ),
            (
                undo,
                layer.rounding_scale(after, rows, inverse=not inverse),
                _own(back, rough_back, after, given),
                layer.solving_error(rows, value.dtype, inverse=not inverse),
            ),
        ):
            size_of = torch.maximum(scale, own).clamp(min=info.tiny / info.eps) + solving / info.eps
            terms = matrix * size_of.reshape(-1, 1, size)
            finite = held & terms.isfinite().flatten(1).all(-1)
            norm = torch.linalg.matrix_norm(torch.where(finite[:, None, None], terms, 0.0), 2)
            total = total + torch.where(finite, norm, torch.inf)
        undo, rows = undone, after
    return (info.eps * total).reshape(batch)


def _value_of(method: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
    def value(at: Tensor, context: Tensor | None) -> Tensor:
        return method(at, context)[0]

    return value


def _own(method: Any, rough: Any, at: Tensor, context: Tensor | None) -> Tensor:
    """Return what ``method`` rounds at ``at``, in units of ε: it in float32 (``rough``) beside itself.

    Two points, a hair apart, since one rounding may be small by chance. Where float32 overflows, 0.
    """
    point = torch.cat([at, at * (1.0 + 2.0**-16)]).float()
    cond = None if context is None else context.float().repeat(2, 1)
    exact = method(point.double(), None if cond is None else cond.double())[0]
    off = (rough(point, cond)[0].double() - exact).abs() / torch.finfo(torch.float32).eps
    off = torch.nan_to_num(off, nan=0.0, posinf=0.0)
    return torch.maximum(*off.chunk(2)) if len(at) else off
