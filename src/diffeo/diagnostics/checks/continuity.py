"""Continuous: a jump is hunted down by bisection. What jumps has no derivative, whatever autograd says."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.checks.conditioning import gentle
from diffeo.diagnostics.checks.subject import apply, check, direction, flat_rows, own_copy, rows_of
from diffeo.diagnostics.figure import Figure
from diffeo.kernels.circle import arc

#: A segment is halved this often.
_HALVINGS = 28

#: A change this many times larger than those around it, of the same step, is a jump.
_JUMP = 100.0


@check("no jumps")
@torch.no_grad()
def continuous(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Count segments between successive rows on which the map jumps.

    The derivative of a rounding step is 0, or whatever a straight-through estimator says, and agrees
    with finite differences almost everywhere. So each segment is halved 28 times, towards the half in which
    the map changes more; if the change that is left is over 100 times those on either side, within the
    same step, the map jumps there. In float64; ``worst`` is the largest jump. A map of angles is judged
    along the circle that its ``circles`` name.

    >>> from diffeo.bijections import Scale
    >>> continuous(Scale(2), torch.eye(2)).ok
    True
    """
    subject = own_copy(bijection, torch.float64)
    ndim = subject.event_ndim
    low, given = flat_rows(subject, value.double(), context)
    wide = (-1, *[1] * ndim)
    along = low.roll(1, 0) - low
    along = along / rows_of(along, ndim).norm(dim=-1).clamp(min=1.0).reshape(wide)

    def f(at: Tensor) -> Tensor:
        return rows_of(apply(subject, at, given, inverse=inverse)[0], ndim)

    def change(a: Tensor, b: Tensor) -> Tensor:
        # Along the circle, for a map of angles: from just below π to just above −π is a small way.
        apart = arc(b - a, subject.circles[0 if inverse else 1])
        return torch.nan_to_num(apart.abs().amax(-1), nan=0.0, posinf=0.0)

    high = low + along
    at_low, at_high = f(low), f(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        at_middle = f(middle)
        left = change(at_low, at_middle) >= change(at_middle, at_high)
        low = torch.where(left.reshape(wide), low, middle)
        at_low = torch.where(left[:, None], at_low, at_middle)
        high = torch.where(left.reshape(wide), middle, high)
        at_high = torch.where(left[:, None], at_middle, at_high)
    step = high - low
    jump = change(at_low, at_high)
    # Beyond both ends the map changes by its slope and by the rounding of its own arithmetic.
    around = torch.zeros_like(jump)
    before, after = at_low, at_high
    for k in range(1, 5):
        further_before, further_after = f(low - k * step), f(high + k * step)
        around = torch.maximum(around, change(further_before, before))
        around = torch.maximum(around, change(after, further_after))
        before, after = further_before, further_after
    size = torch.maximum(at_low.abs().amax(-1), rows_of(low, ndim).abs().amax(-1)).clamp(min=1.0)
    rounding = 1e4 * torch.finfo(torch.float64).eps * size
    # Where the map is so steep that it may change this much within the step, nothing can be said.
    judged = gentle(subject, low, given, inverse=inverse, steepness=1e6)
    jumps = judged & (jump > _JUMP * around + rounding)
    largest = float(torch.where(jumps, jump, 0.0).amax()) if len(jump) else 0.0
    failed = int(jumps.sum())
    detail = "" if len(jump) == int(judged.sum()) else "the steepest segments are not judged"
    if failed:
        detail = f"the map jumps by {largest:.3g} (a rounding step?): it has no derivative there"
    return Figure(
        f"no jumps ({direction(inverse)})",
        worst=largest,
        limit=0.0,
        tested=int(judged.sum()),
        failed=failed,
        detail=detail,
    )
