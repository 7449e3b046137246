"""One rule for how data and context broadcast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError, DtypeError, ShapeError
from diffeo.kernels.safe import conditioner_input


def check_event(argument: str, x: Tensor, event_shape: tuple[int, ...]) -> None:
    """Raise :class:`ShapeError` unless ``x`` ends in ``event_shape``."""
    n = len(event_shape)
    if x.ndim < n or tuple(x.shape[x.ndim - n :]) != tuple(event_shape):
        wanted = ", ".join(str(size) for size in event_shape)
        raise ShapeError(
            f"{argument} has shape {tuple(x.shape)}; expected (..., {wanted}): any batch dimensions, then "
            f"one event of shape ({wanted}{',' if n == 1 else ''}). Reshape it, or choose these features."
        )


def check_tensor(argument: str, value: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Raise :class:`DtypeError` unless ``value`` is a dense tensor of this dtype, on this device."""
    if not isinstance(value, Tensor):
        raise DtypeError(
            f"{argument} is a {type(value).__name__}; expected a torch.Tensor: pass "
            f"torch.as_tensor({argument}, dtype={dtype}) where it holds numbers."
        )
    if value.layout != torch.strided:
        raise DtypeError(
            f"{argument} has layout {value.layout}; expected torch.strided: pass {argument}.to_dense()."
        )
    if value.dtype != dtype:
        other = f", or convert the flow: flow.to({value.dtype})" if value.dtype in _COMPUTED else ""
        raise DtypeError(
            f"{argument} has dtype {value.dtype}; expected {dtype}, which the flow computes in: pass "
            f"{argument}.to({dtype}){other}."
        )
    if value.device != device:
        raise DtypeError(
            f"{argument} is on {value.device}; expected {device}, where the flow is: pass "
            f"{argument}.to({str(device)!r}), with numbers in it, or move the flow."
        )


#: The precisions that a flow computes in.
_COMPUTED = (torch.float32, torch.float64)


def sample_sizes(shape: Any) -> tuple[int, ...]:
    """Return the sample shape that a count or a sequence of counts stands for, or raise."""
    sizes: tuple[Any, ...] = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    whole = all(isinstance(n, int | torch.SymInt) and not isinstance(n, bool) and n >= 0 for n in sizes)
    if not whole:
        raise ConfigError(
            f"shape={shape!r:.80} must be a whole number of at least 0, or a sequence of them, as (5,)."
        )
    return sizes


def check_context(context: Tensor | None, features: int) -> None:
    """Raise :class:`ShapeError` unless ``context`` is there exactly when ``features`` asks for it."""
    if features and context is None:
        raise ShapeError(
            f"context is missing; expected a tensor of shape (..., {features}), "
            f"because the flow was built with context={features}. Pass context=…, a row for each row of x."
        )
    if context is not None and features == 0:
        raise ShapeError(
            f"context of shape {tuple(context.shape)} was given to a flow without context; expected none: "
            f"leave it out, or build the flow with context={context.shape[-1] if context.ndim else 1}."
        )
    if context is not None:
        check_event("context", context, (features,))


def context_read(context: Tensor | None, features: int) -> Tensor | None:
    """Return the context for a part that reads ``features`` of it: None for one that reads none.

    A flow hands its context to all its parts, and some may need none: they are not moved by it, nor marked
    where it is not finite.

    Raises:
        ShapeError: the context is missing, or has another number of features.
    """
    if not features:
        return None
    check_context(context, features)
    return context


def check_broadcast(batch: torch.Size, given: torch.Size) -> None:
    """Raise :class:`ShapeError` unless the batch shapes of the data and of its context broadcast."""
    for one, other in zip(reversed(batch), reversed(given), strict=False):
        if one != other and one != 1 and other != 1:
            raise ShapeError(
                f"context has batch shape {tuple(given)} beside data of batch shape {tuple(batch)}; "
                "expected shapes that broadcast: pass a row of context for each row of data, or one row."
            )


def join_batch(x: Tensor, context: Tensor | None, event_ndim: int) -> tuple[Tensor, Tensor | None]:
    """Return ``x`` and ``context`` expanded to their common batch shape (no copy)."""
    if context is None:
        return x, None
    event, batch = x.shape[x.ndim - event_ndim :], x.shape[: x.ndim - event_ndim]
    if batch == context.shape[:-1]:
        return x, context
    check_broadcast(batch, context.shape[:-1])
    common = torch.broadcast_shapes(batch, context.shape[:-1])
    return x.expand(common + event), context.expand((*common, context.shape[-1]))


def safe_context(context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return a context fit for a conditioner, and NaN for each row whose context is not finite."""
    if context is None:
        return None, None
    # 0 · c is 0 for a finite row and NaN for any other; no gradient flows through it.
    mark = (context.detach() * 0.0).sum(-1)
    return conditioner_input(context), mark
