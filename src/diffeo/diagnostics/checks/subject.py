"""What a check works on: its own copy of a map, called in one direction, whoever wrote it."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Inverse
from diffeo.bijections.chain import layers_of
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

P = ParamSpec("P")


class BrokenContract(Exception):
    """A map did not return what a bijection returns; the message says what it returned."""


class Adopted(Bijection):
    """Any object with ``forward`` and ``inverse`` returning (value, log_det), dressed as a Bijection."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        if isinstance(module, nn.Module):
            self.module = module
        else:
            object.__setattr__(self, "module", module)
        self.event_ndim = int(getattr(module, "event_ndim", 1))
        event_shape: Any = getattr(module, "event_shape", None)
        if event_shape is not None:
            self.event_shape = torch.Size(event_shape)
        self.context_features = int(getattr(module, "context_features", 0))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the module's ``forward`` returns."""
        return self._call("forward", z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the module's ``inverse`` returns."""
        return self._call("inverse", x, context)

    def _call(self, name: str, value: Tensor, context: Tensor | None) -> Any:
        method = getattr(self.module, name, None)
        if not callable(method):
            raise BrokenContract(f"{type(self.module).__name__} has no method {name}")
        takes = inspect.signature(method).parameters.values()
        positional = [p for p in takes if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        variadic = any(p.kind is p.VAR_POSITIONAL for p in takes)
        return method(value, context) if variadic or len(positional) > 1 else method(value)


def adopt(target: Any) -> Bijection:
    """Return ``target`` if it is a Bijection, a flow's bijection, or any other object dressed as one."""
    if isinstance(target, Flow):
        return target.bijection
    return target if isinstance(target, Bijection) else Adopted(target)


def own_copy(target: Any, dtype: torch.dtype) -> Bijection:
    """Return a copy of ``target`` in ``dtype`` and evaluation mode; the original is never touched."""
    return adopt(copy.deepcopy(target)).to(dtype).eval()


def apply(
    bijection: Bijection, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Return (value, log_det) of one direction, or raise :class:`BrokenContract`."""
    name = "inverse" if inverse else "forward"
    result: Any = bijection.inverse(value, context) if inverse else bijection(value, context)
    if not isinstance(result, tuple | list) or len(result) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise BrokenContract(f"{name} returned {_describe(result)}; expected a pair (value, log_det)")
    moved, log_det = result
    if not isinstance(moved, Tensor) or not isinstance(log_det, Tensor):
        raise BrokenContract(
            f"{name} returned ({_describe(moved)}, {_describe(log_det)}); expected two tensors"
        )
    if context is None and moved.shape != value.shape:
        raise BrokenContract(
            f"{name} returned a value of shape {tuple(moved.shape)} for an input of shape "
            f"{tuple(value.shape)}; expected the same shape"
        )
    return moved, log_det


def apply_checked(
    bijection: Bijection, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Return :func:`apply`'s pair, and raise unless the log-determinant has one number a row."""
    moved, log_det = apply(bijection, value, context, inverse=inverse)
    batch = moved.shape[: moved.ndim - bijection.event_ndim]
    if log_det.shape != batch:
        name = "inverse" if inverse else "forward"
        raise BrokenContract(
            f"{name} returned a log_det of shape {tuple(log_det.shape)}; expected {tuple(batch)}, "
            "one number for each row of the batch"
        )
    return moved, log_det


def direction(inverse: bool) -> str:
    """Return the name of a direction, as it stands in figures."""
    return "x → z" if inverse else "z → x"


def precision(dtype: torch.dtype) -> str:
    """Return "float32" for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def rows_of(value: Tensor, event_ndim: int) -> Tensor:
    """Return ``value`` with its batch dimensions made one and its event dimensions made one."""
    event = value.shape[value.ndim - event_ndim :]
    return value.reshape(-1, event.numel())


def flat_rows(bijection: Bijection, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return value and context with one common batch dimension, in the value's dtype."""
    ndim = bijection.event_ndim
    batch, event = value.shape[: value.ndim - ndim], value.shape[value.ndim - ndim :]
    if context is None:
        return value.reshape(-1, *event), None
    batch = torch.broadcast_shapes(batch, context.shape[:-1])
    cond = context.to(value.dtype).expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
    return value.expand(*batch, *event).reshape(-1, *event), cond


def check(name: str, figure: str = "") -> Callable[[Callable[P, Figure]], Callable[P, Figure]]:
    """Make a check report an exception of the map it checks as a failed figure, never raise it."""

    def decorate(function: Callable[P, Figure]) -> Callable[P, Figure]:
        @functools.wraps(function)
        def reported(*args: P.args, **kwargs: P.kwargs) -> Figure:
            try:
                return function(*args, **kwargs)
            except Exception as error:  # a check reports whatever a module under test does
                layer = _layer_raising(error.__traceback__)
                where = f" in layer {layer}" if layer else ""
                message = " ".join(str(error).split())[:400]
                kind = "" if isinstance(error, BrokenContract) else f"{type(error).__name__}: "
                suffix = f" ({direction(bool(kwargs['inverse']))})" if "inverse" in kwargs else ""
                return Figure(
                    name + suffix, math.nan, 0.0, 1, 1, layer, f"raised{where}: {kind}{message}", figure
                )

        return reported

    return decorate


def _layer_raising(trace: TracebackType | None) -> str:
    """Return the layer of the outermost chain in which an exception was raised, or ""."""
    frames: list[Any] = []
    while trace is not None:
        frames.append(trace.tb_frame.f_locals.get("self"))
        trace = trace.tb_next
    bijections = (owner for owner in frames if isinstance(owner, Bijection))
    chain = next((owner for owner in bijections if len(layers_of(owner)) > 1), None)
    if chain is None:
        return ""
    names: dict[int, str] = {}
    for name, layer in layers_of(chain):
        names[id(layer)] = name
        if isinstance(layer, Inverse):  # made by layers_of; what raised is the layer in it
            names[id(layer.bijection)] = name
    return next((names[id(owner)] for owner in reversed(frames) if id(owner) in names), "")


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
