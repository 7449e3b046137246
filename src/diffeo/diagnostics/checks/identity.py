"""Identity at zero: a law with θ = 0, and a coupling whose conditioner says 0, change nothing at all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffeo.diagnostics.checks.steered import Steered
from diffeo.diagnostics.checks.subject import apply, check, own_copy, precision
from diffeo.diagnostics.figure import Figure
from diffeo.laws import Law


@check("identity at zero", "A7")
@torch.no_grad()
def identity_at_zero(
    part: Any, value: Tensor, context: Tensor | None = None, *, zero: bool = True
) -> Figure:
    """Measure max │f(z) − z│ and │log_det│, both ways, with every parameter zero; the limit is exactly 0.

    ``part`` is a law (θ = 0) or a bijection, whose parameters are set to zero; ``zero=False`` leaves
    them as they are, to check that an untrained bijection is the identity.

    >>> from diffeo.laws import Affine
    >>> identity_at_zero(Affine(), torch.ones(3, 2)).worst
    0.0
    """
    target = Steered(part, value.shape[-1]) if isinstance(part, Law) else part
    subject = own_copy(target, value.dtype)
    if zero:
        for parameter in subject.parameters():
            nn.init.zeros_(parameter)
    worst, failed = 0.0, 0
    for inverse in (False, True):
        moved, log_det = apply(subject, value, context, inverse=inverse)
        off = torch.maximum(
            (moved - value).abs().flatten(-subject.event_ndim).amax(-1),
            log_det.abs().expand(moved.shape[: moved.ndim - subject.event_ndim]),
        )
        failed += int((~(off == 0)).sum())
        worst = max(worst, float(torch.nan_to_num(off, nan=torch.inf).amax()))
    batch = value.shape[: value.ndim - subject.event_ndim].numel()
    return Figure(
        f"identity at zero, {precision(value.dtype)}",
        worst=worst,
        limit=0.0,
        tested=2 * batch,
        failed=failed,
        detail="parameters of zero do not give the identity map" if failed else "",
        figure="A7",
    )
