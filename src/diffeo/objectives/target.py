"""Unnormalised targets p̃(x) = Z p(x): a flow's draws, and log p̃ at them, checked."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError, DtypeError, ShapeError
from diffeo.flows import Flow

#: log p̃(x) for x of shape ``(n, *event_shape)``, of shape (n,); for a flow with context, of (x, context).
LogDensity = Callable[..., Tensor]


def check_log_density(given: Any) -> None:
    """Raise :class:`ConfigError` unless ``given`` can be called."""
    if not callable(given):
        raise ConfigError(
            f"log_density is a {type(given).__name__}; expected a function of x, of shape (n, *event), "
            "which returns log p̃(x), of shape (n,)."
        )


def log_density_at(log_density: LogDensity, x: Tensor, context: Tensor | None, event_ndim: int) -> Tensor:
    """Return log p̃ of draws, of their batch shape.

    Args:
        log_density: the target; it is shown one batch dimension.
        x: draws, ``batch + event``.
        context: rows that broadcast against the batch, or None.
        event_ndim: dimensions of an event.

    Raises:
        ShapeError: it returned another shape than one number a row.
        DtypeError: it did not return a tensor of floating numbers on the device of x.
    """
    batch = x.shape[: x.ndim - event_ndim]
    rows = x.reshape(-1, *x.shape[x.ndim - event_ndim :])
    if context is None:
        found: Any = log_density(rows)
    else:
        wide = context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
        found = log_density(rows, wide)
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.device != x.device:
        kind = f"a tensor of {found.dtype} on {found.device}" if isinstance(found, Tensor) else type(found)
        raise DtypeError(
            f"log_density returned {kind}; expected a tensor of floating numbers on {x.device}: write it "
            "with torch's functions of x."
        )
    if found.shape != rows.shape[:1]:
        hint = "log_density(x).squeeze(-1)" if found.shape == (len(rows), 1) else "sum over the features"
        raise ShapeError(
            f"log_density returned shape {tuple(found.shape)} for x of shape {tuple(rows.shape)}; expected "
            f"({len(rows)},), one number a row: {hint}."
        )
    return found.to(x.dtype).reshape(batch)


def check_differentiable(flow: Flow, x: Tensor, log_p: Tensor | None = None) -> None:
    """Raise :class:`ConfigError` where a reparametrised gradient would silently be another one.

    It needs draws that are functions of every parameter, and log p̃ that is one of the draws.
    """
    if any(p.requires_grad for p in flow.base.parameters()) and not flow.base.reparametrised:
        raise ConfigError(
            f"draws of the base {type(flow.base).__name__} are not differentiable in all its parameters, "
            'so that gradients through draws would leave them out; pass ReverseKL(…, estimator="score"), '
            "or freeze the base: flow.base.requires_grad_(False)."
        )
    if log_p is not None and x.requires_grad and not log_p.requires_grad:
        raise ConfigError(
            "log_density(x) carries no gradient towards x; write it with torch's functions of x (no "
            '.detach(), .item() or NumPy inside), or pass ReverseKL(…, estimator="score").'
        )


@contextlib.contextmanager
def as_scored(flow: Flow) -> Generator[None]:
    """Put a flow into evaluation mode for a while, in which each row has the density that is scored.

    In training mode batch normalisation mixes rows on the way to noise and not on the way back, dropout
    draws other networks each way, and a trace may be an estimate: log q at draws would not be theirs.
    """
    training = [part for part in flow.modules() if part.training]
    flow.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def stopped(flow: Flow) -> Flow:
    """Return the same density, of the same numbers in memory, whose parameters get no gradient.

    A copy of the modules, and not a call with other parameters: layers that compute their way back anew
    (constant memory, adjoints, searches) would do so with the live ones.
    """
    shared: dict[int, Any] = {}
    for parameter in flow.parameters():
        shared[id(parameter)] = torch.nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in flow.buffers():
        shared[id(buffer)] = buffer
    return copy.deepcopy(flow, shared)


def with_value(value: Tensor, surrogate: Tensor) -> Tensor:
    """Return a scalar that has one's value and the other's gradient."""
    return value.detach() + (surrogate - surrogate.detach())
