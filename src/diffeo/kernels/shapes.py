"""One rule for how data and context broadcast."""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.errors import ShapeError
from diffeo.kernels.safe import conditioner_input


def check_event(argument: str, x: Tensor, event_shape: tuple[int, ...]) -> None:
    """Raise :class:`ShapeError` unless ``x`` ends in ``event_shape``."""
    n = len(event_shape)
    if x.ndim < n or tuple(x.shape[x.ndim - n :]) != tuple(event_shape):
        wanted = ", ".join(str(size) for size in event_shape)
        raise ShapeError(
            f"{argument} has shape {tuple(x.shape)}; expected (..., {wanted}): "
            f"any batch dimensions, then one event of shape ({wanted})."
        )


def check_context(context: Tensor | None, features: int) -> None:
    """Raise :class:`ShapeError` unless ``context`` is there exactly when ``features`` asks for it."""
    if features and context is None:
        raise ShapeError(
            f"context is missing; expected a tensor of shape (..., {features}), "
            "because the flow was built with context=" + str(features) + "."
        )
    if context is not None and features == 0:
        raise ShapeError(
            f"context of shape {tuple(context.shape)} was given to a flow without context; leave it "
            f"out, or build the flow with context={context.shape[-1] if context.ndim else 1}."
        )
    if context is not None:
        check_event("context", context, (features,))


def join_batch(x: Tensor, context: Tensor | None, event_ndim: int) -> tuple[Tensor, Tensor | None]:
    """Return ``x`` and ``context`` expanded to their common batch shape (no copy)."""
    if context is None:
        return x, None
    event, batch = x.shape[x.ndim - event_ndim :], x.shape[: x.ndim - event_ndim]
    if batch == context.shape[:-1]:
        return x, context
    common = torch.broadcast_shapes(batch, context.shape[:-1])
    return x.expand(common + event), context.expand((*common, context.shape[-1]))


def safe_context(context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return a context fit for a conditioner, and NaN for each row whose context is not finite."""
    if context is None:
        return None, None
    # 0 · c is 0 for a finite row and NaN for any other; no gradient flows through it.
    mark = (context.detach() * 0.0).sum(-1)
    return conditioner_input(context), mark
