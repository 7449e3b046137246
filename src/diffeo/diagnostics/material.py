"""What a verification works with: ordinary values on both sides of a map, and contexts."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Chain, Inverse
from diffeo.conditioners import Conditioner
from diffeo.diagnostics.checks.subject import BrokenContract, adopt, apply, own_copy
from diffeo.distributions import Base
from diffeo.errors import DtypeError, ShapeError
from diffeo.flows import Flow
from diffeo.kernels.arrays import as_numbers

#: Sizes tried for a map that does not say how many features it has.
_SIZES = (3, 2, 1, *range(4, 65))


@dataclass(frozen=True)
class Material:
    """Values for the checks, in float64.

    Attributes:
        bijection: the map, dressed as a Bijection where it is not one.
        z, x: values on the noise and on the data side, (n, *event).
        context: (n, features), or None.
    """

    bijection: Bijection
    z: Tensor
    x: Tensor
    context: Tensor | None

    @property
    def size(self) -> int:
        """Return the elements of an event."""
        return self.z[0].numel()

    def side(
        self, inverse: bool, dtype: torch.dtype, rows: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the values that a direction starts from, and their contexts."""
        value = (self.x if inverse else self.z)[:rows].to(dtype)
        return value, None if self.context is None else self.context[: len(value)].to(dtype)


@torch.no_grad()
def gather(target: Any, x: Tensor | None, context: Tensor | None, seed: int) -> Material:
    """Draw and collect what the checks need.

    Raises:
        ShapeError: the event shape is not known and could not be found; the message says what to pass.
    """
    x, context = _as_tensor("x", x), _as_tensor("context", context)
    if isinstance(x, Tensor) and x.is_complex():
        raise DtypeError(f"x has dtype {x.dtype}; expected real numbers: pass x.real, or both parts.")
    bijection = adopt(target)
    generator = torch.Generator().manual_seed(seed)
    ndim = bijection.event_ndim
    features = context_features(target)
    if context is None and features:
        context = torch.randn(64, features, generator=generator, dtype=torch.float64)
    event = _event_shape(target, bijection, x, context)
    count = max(4, min(64, 1024 // max(event.numel(), 1)))
    given = None
    if x is not None:
        given, context = _rows(x.detach().double(), context, ndim, count)
        count = len(given)
    elif context is not None:
        context = context.detach().double().reshape(-1, context.shape[-1])
        context = context[torch.arange(count) % len(context)]
    z = _noise(target, bijection, event, count, context, generator)
    if given is None:
        given = _image(bijection, z, context)
    return Material(bijection, z, given, context)


def _as_tensor(argument: str, value: Any) -> Tensor | None:
    """Return an array as a tensor, as ``fit`` does; tensors and None as they are."""
    if value is None or isinstance(value, Tensor):
        return value
    return torch.from_numpy(as_numbers(argument, value))


def context_features(target: Any) -> int:
    """Return the features of the context that a flow or bijection reads, 0 for none."""
    if isinstance(target, Flow):
        return target.context_features
    parts = list(target.modules()) if isinstance(target, nn.Module) else [target]
    if isinstance(target, Bijection):  # what it holds of another library has attributes of its own
        parts = [part for part in parts if isinstance(part, Bijection | Base | Conditioner)]
    return max(
        int(part.context if isinstance(part, Conditioner) else getattr(part, "context_features", 0) or 0)
        for part in parts
    )


def _event_shape(target: Any, bijection: Bijection, x: Tensor | None, context: Tensor | None) -> torch.Size:
    ndim = bijection.event_ndim
    parts = [target, *(target.modules() if isinstance(target, nn.Module) else ())]
    for part in parts:
        shape: Any = getattr(part, "event_shape", None)
        if shape is not None and len(shape) == ndim:
            return torch.Size(shape)
    if x is not None:
        if x.ndim < ndim:
            raise ShapeError(f"x has shape {tuple(x.shape)}; expected rows of {ndim}-dimensional events.")
        return x.shape[x.ndim - ndim :]
    problem, taken = "", 0
    if ndim == 1:
        subject = own_copy(bijection, torch.float64)
        cond = None if context is None else context[:2].double()
        for size in _SIZES:
            try:
                apply(subject, torch.zeros(2, size, dtype=torch.float64), cond)
            except Exception as error:  # the module decides which sizes it takes, and how it says no
                if isinstance(error, BrokenContract):  # it took the size, and returned something odd
                    taken = taken or size
                problem = problem or f" (with {size} features: {type(error).__name__}: {str(error)[:100]})"
            else:
                return torch.Size([size])
    if taken:
        return torch.Size([taken])
    raise ShapeError(
        f"x is missing, and {type(target).__name__} does not say the shape of its events{problem}; pass "
        "x= with a few rows of data, or give the module an event_shape."
    )


def _rows(x: Tensor, context: Tensor | None, ndim: int, count: int) -> tuple[Tensor, Tensor | None]:
    """Return at most ``count`` finite rows of ``x``, with their contexts."""
    event, batch = x.shape[x.ndim - ndim :], x.shape[: x.ndim - ndim]
    rows = x.reshape(-1, *event)
    if context is not None:
        context = context.detach().double()
        fits = context.ndim > 1 and context.shape[:-1] != batch and len(batch) > 0
        if fits:
            context = context.reshape(-1, context.shape[-1])
            context = context[torch.arange(len(rows)) % len(context)]
        else:
            context = context.expand(*batch, context.shape[-1]).reshape(-1, context.shape[-1])
    keep = rows.flatten(1).isfinite().all(-1).nonzero().flatten()[:count]
    if not len(keep):
        raise ShapeError(f"x of shape {tuple(x.shape)} has no row of finite numbers.")
    return rows[keep], None if context is None else context[keep]


def _noise(
    target: Any,
    bijection: Bijection,
    event: torch.Size,
    count: int,
    context: Tensor | None,
    generator: torch.Generator,
) -> Tensor:
    """Return draws of a flow's base; for a bijection, normal draws, the origin and far corners."""
    if isinstance(target, Flow):
        base = copy.deepcopy(target.base).double().eval()
        return base.sample((count,), context, generator=generator.manual_seed(generator.initial_seed()))
    z = torch.randn(count, *event, generator=generator, dtype=torch.float64)
    if count > 8:
        z[-3], z[-2], z[-1] = 0.0, 4.0, -4.0
    return _into_domain(bijection, z, context)


def _into_domain(bijection: Bijection, z: Tensor, context: Tensor | None) -> Tensor:
    """Return ``z`` where the map takes all numbers, otherwise its image in the set that the map takes."""
    if isinstance(bijection, Chain):
        first = bijection.bijections[0]
        return _into_domain(first, z, context) if isinstance(first, Bijection) else z
    if isinstance(bijection, Inverse):
        return _image(bijection.bijection, _into_domain(bijection.bijection, z, context), context)
    return z


def _image(bijection: Bijection, z: Tensor, context: Tensor | None) -> Tensor:
    """Return f(z), or z itself where f fails: the checks then say how."""
    try:
        return apply(own_copy(bijection, torch.float64), z, context)[0].detach()
    except Exception:  # reported by the check of shapes, with the layer
        return z
