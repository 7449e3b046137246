"""Which rows a comparison in float64 can judge: those that the map and its inverse both treat gently."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.bijections.rounding import predicted_error
from diffeo.diagnostics.checks.subject import apply


@torch.no_grad()
def gentle(
    bijection: Bijection,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    steepness: float,
    predicted: Tensor | None = None,
) -> Tensor:
    """Return, for each row of ``value`` (float64), whether no slope through it exceeds ``steepness``.

    It is the amplification of both round trips, relative to max(1, size), that is compared. Finite
    differences and comparisons between batches carry an error of a step, or a rounding, times the
    steepness of the map: beyond it they would measure that, and not the map. ``predicted``, if it is known
    already, is what :func:`~diffeo.bijections.rounding.predicted_error` says of ``value``.
    """
    there, _ = apply(bijection, value, context, inverse=inverse)
    start = value.expand_as(there)
    small = torch.ones(start.shape[: start.ndim - bijection.event_ndim], dtype=torch.bool)
    small = small.to(value.device)
    for at, way, known in ((start, inverse, predicted), (there, not inverse, None)):
        size = at.flatten(at.ndim - bijection.event_ndim).abs().amax(-1).clamp(min=1.0)
        try:
            error = predicted_error(bijection, at, context, inverse=way) if known is None else known
        except Exception:  # a direction that cannot be called is no reason not to judge the other
            continue
        small &= error <= steepness * torch.finfo(value.dtype).eps * size
    return small
