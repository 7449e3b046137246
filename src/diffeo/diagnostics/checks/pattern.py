"""Zeros of the Jacobian: where a layer declares that nothing depends on something, nothing does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import Bijection, Pattern
from diffeo.bijections.chain import layers_of
from diffeo.diagnostics.checks.determinant import jacobian
from diffeo.diagnostics.checks.subject import (
    apply,
    check,
    direction,
    flat_rows,
    own_copy,
    precision,
    rows_of,
)
from diffeo.diagnostics.figure import Figure


@check("zeros of the Jacobian", "A10")
def jacobian_zeros(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Measure autograd's Jacobian where a layer declares zeros (:meth:`Bijection.pattern`): exactly 0.

    Every layer of a chain is measured at the activations that the chain computes. Of an element that is
    declared to be kept, the slope is exactly 1 and the value the same, bit for bit. ``worst`` is the
    largest entry where 0 is declared, or departure where an element is kept; what counts as tested is each
    of them in each row. Without a declared zero, nothing is judged.

    >>> from diffeo.bijections import Triangular
    >>> jacobian_zeros(Triangular(3), torch.ones(2, 3)).tested
    6
    """
    subject = own_copy(bijection, value.dtype)
    at, given = flat_rows(subject, value, context)
    tested, failed, worst = 0, 0, 0.0
    layer, detail = "", "not judged: no layer declares a zero"
    layers = layers_of(subject)
    for name, part in reversed(layers) if inverse else layers:
        with torch.no_grad():
            after, _ = apply(part, at, given, inverse=inverse)
        pattern = part.pattern(inverse=inverse)
        if pattern is not None:
            off = _departures(part, pattern, at, after, given, inverse)
            bad = ~(off == 0)  # True for NaN
            tested, failed, detail = tested + off.numel(), failed + int(bad.sum()), detail if failed else ""
            furthest = float(torch.nan_to_num(off, nan=torch.inf).amax()) if off.numel() else 0.0
            if furthest > worst:
                worst, layer = furthest, name if len(layers) > 1 else ""
        at = after
    if failed:
        detail = (
            f"an entry of the Jacobian that is declared 0 (or 1, of what is passed) is off by {worst:.2g}"
        )
    return Figure(
        f"zeros of the Jacobian, {precision(value.dtype)} ({direction(inverse)})",
        worst=worst,
        limit=0.0,
        tested=tested,
        failed=failed,
        layer=layer,
        detail=detail,
        figure="A10",
    )


def _departures(
    part: Bijection, pattern: Pattern, at: Tensor, after: Tensor, context: Tensor | None, inverse: bool
) -> Tensor:
    """Return │∂out_i/∂in_j│ where 0 is declared, and what a kept element and its slope are off by."""
    slopes = jacobian(part, at, context, inverse=inverse)
    never = ~torch.from_numpy(pattern.may)
    kept = torch.from_numpy(pattern.kept)
    before, moved = rows_of(at, part.event_ndim), rows_of(after, part.event_ndim)
    own = (slopes.diagonal(dim1=-2, dim2=-1) - 1).abs() + torch.where(before == moved, 0.0, torch.inf)
    return torch.cat([slopes[:, never].abs(), own[:, kept]], -1)
