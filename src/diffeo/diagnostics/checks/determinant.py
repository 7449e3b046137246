"""Determinant right: the log-determinant is that of autograd's Jacobian, and the two directions cancel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.bijections.chain import layers_of
from diffeo.bijections.jacobian import jacobian_of
from diffeo.diagnostics.checks.subject import (
    apply,
    apply_checked,
    check,
    direction,
    flat_rows,
    own_copy,
    precision,
)
from diffeo.diagnostics.figure import Figure

#: The largest |claimed − autograd| / max(1, |autograd|).
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-9}


@check("log-determinant beside autograd's", "A3")
def log_det_matches_autograd(
    bijection: Any,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    limit: float | None = None,
) -> Figure:
    """Measure the log-determinant against log │det J│ of the Jacobian that autograd computes.

    error = |claimed − reference| / max(1, |reference|) of a row; limit 1e-9 in float64, 1e-3 in float32.
    The claim is made in the precision of ``value``, the reference in float64, layer by layer
    (log │det AB│ = log │det A│ + log │det B│) at the activations that the map itself computed: an
    ill-conditioned chain then has no larger error than its worst layer. The layer whose own claim is
    furthest off is named.

    >>> from diffeo.bijections import Scale
    >>> log_det_matches_autograd(Scale(2), torch.ones(3, 2, dtype=torch.float64)).ok
    True
    """
    bound = LIMITS[value.dtype] if limit is None else limit
    subject, exact = own_copy(bijection, value.dtype), own_copy(bijection, torch.float64)
    with torch.no_grad():
        _, claimed = apply_checked(subject, value, context, inverse=inverse)
    claimed = claimed.reshape(-1).double()
    layers = list(zip(layers_of(subject), layers_of(exact), strict=True))
    at, given = flat_rows(subject, value, context)
    reference = torch.zeros_like(claimed)
    furthest, layer, own_claim = bound, "", (claimed, claimed)
    for (name, rough), (_, fine) in reversed(layers) if inverse else layers:
        with torch.no_grad():
            after, own = apply(rough, at, given, inverse=inverse)
        part = log_abs_det(jacobian(fine, at.double(), _double(given), inverse=inverse))
        if len(layers) > 1 and len(part):
            off = float(
                torch.nan_to_num(_relative(own.double().expand_as(part), part), nan=torch.inf).amax()
            )
            if off > furthest:
                furthest, layer, own_claim = off, name, (own.double().expand_as(part), part)
        reference = reference + part
        at = after
    error = _relative(claimed, reference)
    bad = ~(error <= bound)
    detail = ""
    if bool(bad.any()):
        detail = _explain(*(own_claim if layer else (claimed, reference)), bound)
    return Figure(
        f"log-determinant − autograd's, {precision(value.dtype)} ({direction(inverse)})",
        worst=float(torch.nan_to_num(error, nan=torch.inf).amax()) if len(error) else 0.0,
        limit=bound,
        tested=len(error),
        failed=int(bad.sum()),
        layer=layer if bool(bad.any()) else "",
        detail=detail,
        figure="A3",
    )


@check("log-determinants of both directions cancel", "A3")
@torch.no_grad()
def log_dets_cancel(
    bijection: Any,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    limit: float | None = None,
) -> Figure:
    """Measure log │det J_f│ at ``value`` plus log │det J_{f⁻¹}│ at its image, which is 0.

    error = |sum| / max(1, |log_det|) of a row. The second is taken layer by layer at the activations of
    the first, as in :func:`log_det_matches_autograd`.

    >>> from diffeo.bijections import Scale
    >>> log_dets_cancel(Scale(2), torch.ones(3, 2)).worst
    0.0
    """
    bound = LIMITS[value.dtype] if limit is None else limit
    subject = own_copy(bijection, value.dtype)
    _, claimed = apply_checked(subject, value, context, inverse=inverse)
    at, given = flat_rows(subject, value, context)
    total = torch.zeros(len(at), dtype=torch.float64, device=at.device)
    furthest, layer = bound, ""
    layers = layers_of(subject)
    for name, part in reversed(layers) if inverse else layers:
        after, there = apply(part, at, given, inverse=inverse)
        _, back = apply(part, after, given, inverse=not inverse)
        total = total + back.double()
        own = _relative(-back.double().expand_as(total), there.double().expand_as(total))
        off = float(torch.nan_to_num(own, nan=torch.inf).amax()) if len(own) else 0.0
        if len(layers) > 1 and off > furthest:
            furthest, layer = off, name
        at = after
    error = _relative(-total, claimed.reshape(-1).double())
    bad = ~(error <= bound)
    return Figure(
        f"log-determinants cancel, {precision(value.dtype)} ({direction(inverse)} and back)",
        worst=float(torch.nan_to_num(error, nan=torch.inf).amax()) if len(error) else 0.0,
        limit=bound,
        tested=len(error),
        failed=int(bad.sum()),
        layer=layer if bool(bad.any()) else "",
        detail="the two directions' log-determinants do not sum to 0" if bool(bad.any()) else "",
        figure="A3",
    )


def jacobian(
    bijection: Bijection,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    together: bool = True,
) -> Tensor:
    """Return ∂out/∂in for each row of ``value`` (rows, *event) as (rows, D, D), by autograd."""

    def moved(at: Tensor, given: Tensor | None) -> Tensor:
        return apply(bijection, at, given, inverse=inverse)[0]

    return jacobian_of(moved, value, context, together=together)[0]


def log_abs_det(matrices: Tensor) -> Tensor:
    """Return log │det│ of each (D, D) matrix, rows and columns first scaled to size 1.

    A triangular Jacobian with one steep entry has a large condition number that its determinant does not
    feel; the scaling (by powers of two, so exact) takes it away before the factorisation.
    """
    finite = matrices.isfinite().flatten(-2).all(-1)
    scaled = torch.where(finite[..., None, None], matrices, 0.0)
    log2 = scaled.new_zeros(scaled.shape[:-2])
    for _ in range(12):
        for dim in (-1, -2):
            size = scaled.abs().amax(dim, keepdim=True)
            power = torch.where(size > 0, size, 1.0).log2().div(2.0 if dim == -1 else 1.0).round()
            scaled = torch.ldexp(scaled, -power)
            log2 = log2 + power.sum((-1, -2))
    log_det = torch.linalg.slogdet(scaled).logabsdet + log2 * torch.log(scaled.new_tensor(2.0))
    return torch.where(finite, log_det, torch.nan)


def _explain(claimed: Tensor, reference: Tensor, bound: float) -> str:
    """Return what was claimed where it is worst, and what kind of mistake fits every bad row."""
    error = torch.nan_to_num(_relative(claimed, reference), nan=torch.inf)
    bad, k = error > bound, int(error.argmax())
    said = f"claimed {float(claimed[k]):.6g}, autograd's Jacobian gives {float(reference[k]):.6g}"
    got, true = claimed[bad], reference[bad]
    if not bool(true.isfinite().all()):
        return f"{said}: the Jacobian is singular or not finite"
    if bool((_relative(-got, true) <= max(bound, 1e-6)).all()) and bool(true.abs().amax() > 1e-3):
        return f"{said}: it has the wrong sign"
    offset = got - true
    if bool((_relative(got, true) < 1e-6).all()):
        return f"{said}: digits are lost, as in a float32 accumulation (off by {float(offset[0]):.1g})"
    if len(offset) > 2 and bool(
        ((offset - offset.mean()).abs() < 1e-6 * offset.abs().clamp(min=1.0)).all()
    ):
        return f"{said}: it is off by a constant, {float(offset.mean()):.6g}"
    return said


def _relative(claimed: Tensor, reference: Tensor) -> Tensor:
    return (claimed - reference).abs() / reference.abs().clamp(min=1.0)


def _double(context: Tensor | None) -> Tensor | None:
    return None if context is None else context.double()
