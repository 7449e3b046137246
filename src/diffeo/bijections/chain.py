"""Composition, inversion, and the map that does nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.listening import composed_as, passes_of
from diffeo.bijections.memory import MEMORY, passed
from diffeo.bijections.pattern import Pattern
from diffeo.bijections.rearranged import Rearranged
from diffeo.bijections.recovery import Step
from diffeo.bijections.replay import Reversal
from diffeo.errors import ConfigError, a_part, at_least, one_of
from diffeo.registry import register

M = TypeVar("M", bound=nn.Module)


@register("bijections.Identity")
class Identity(Bijection):
    """x = z, log-determinant 0.

    >>> Identity()(torch.ones(2))
    (tensor([1., 1.]), tensor(0.))
    """

    def __init__(self, event_ndim: int = 1) -> None:
        super().__init__()
        at_least("event_ndim", event_ndim, 1)
        self.event_ndim = event_ndim

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and 0."""
        return z, z.new_zeros(z.shape[: z.ndim - self.event_ndim])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and 0."""
        return self.forward(x)


@register("bijections.Inverse")
class Inverse(Bijection):
    """The same map the other way round: forward is the inverse of ``bijection`` and vice versa.

    >>> from diffeo.bijections import Log
    >>> Inverse(Log())(torch.tensor([1.0]))
    (tensor([0.]), tensor(-0.))
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        a_part("bijection", bijection, Bijection, "Scale(2)")
        self.bijection = bijection
        self.event_ndim = bijection.event_ndim
        self.circles = (bijection.circles[1], bijection.circles[0])

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``bijection.inverse(z)``."""
        return self.bijection.inverse(z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return ``bijection.forward(x)``."""
        return self.bijection(x, context)

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the inner bijection's, of its other direction."""
        return self.bijection.rounding_scale(given, value, inverse=not inverse)

    def pattern(self, *, inverse: bool) -> Pattern | None:
        """Return the inner bijection's, of its other direction."""
        return self.bijection.pattern(inverse=not inverse)

    def solving_error(self, value: Tensor, dtype: torch.dtype, *, inverse: bool) -> Tensor | float:
        """Return the inner bijection's, of its other direction."""
        return self.bijection.solving_error(value, dtype, inverse=not inverse)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return the inner bijection's, of its other direction."""
        return self.bijection.reversal(inverse=not inverse)


@register("bijections.Chain")
class Chain(Bijection):
    """f = f_K ∘ … ∘ f₁: ``Chain(f1, …, fK)`` applies f1 first on the way from noise to data.

    log │det J_f│ = Σ_k log │det J_{f_k}│ at the intermediate points, both ways from one pass.

    A gradient needs the activations of every layer. With ``memory="constant"`` they are recovered from the
    output on the way back, layer by layer, and checked (:mod:`diffeo.bijections.memory`): activations
    take little more memory than those of one layer, and a step about half again the time (two to three
    and a half times that of products in bfloat16, which it does without). Values are the same (those of
    nested chains, which are taken apart, to rounding), and gradients to rounding. A chain within another
    layer, as in :class:`Split`, has a memory of its own; :func:`set_memory` sets all of a flow. ``memory``
    may be changed at any time, and a model file does not hold it.

    Args:
        bijections: f1, …, fK.
        memory: "full" keeps the activations of all layers for the gradient, "constant" those of one.

    Raises:
        ConfigError: there is no bijection, events differ in dimensions, or ``memory`` is unknown.

    >>> from diffeo.bijections import Scale
    >>> x, log_det = Chain(Scale(2), Identity())(torch.ones(3, 2))
    >>> x.shape, log_det.shape
    (torch.Size([3, 2]), torch.Size([3]))
    """

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Record the layers: how a model is trained is no part of it."""
        return {"bijections": arguments["bijections"]}

    def __init__(self, *bijections: Bijection, memory: str = "full") -> None:
        super().__init__()
        self.memory = memory
        if not bijections:
            raise ConfigError("bijections is empty; a Chain needs at least one: pass Chain(Identity()).")
        for k, part in enumerate(bijections):
            a_part(f"bijections[{k}]", part, Bijection, "Scale(2)")
        depths = [part.event_ndim for part in bijections]
        if len(set(depths)) > 1:
            raise ConfigError(
                f"bijections have event_ndim {depths}; expected the same number throughout: pass "
                "event_ndim=… where it is an option."
            )
        self.bijections = nn.ModuleList(bijections)
        self.event_ndim = depths[0]
        self.circles = (bijections[0].circles[0], bijections[-1].circles[1])
        images = [part.codomain for part in bijections if part.codomain is not None]
        # What follows a bounded image and is not the last may stretch it: then only ℝ is certain.
        if images:
            last = bijections[-1].codomain
            self.codomain = last if last is not None else constraints.real

    @property
    def in_layers(self) -> bool:
        """Return whether it is its layers, one after another: a subclass with passes of its own is not."""
        return passes_of(self, Chain)

    @property
    def memory(self) -> str:
        """Return "full" or "constant"; either can be set."""
        return self._memory

    @memory.setter
    def memory(self, memory: str) -> None:
        one_of("memory", memory, MEMORY)
        self._memory = memory

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return f_K(… f₁(z)) and the sum of the log-determinants."""
        if self.memory == "constant":
            return passed(_parts(self, False), z, context)
        value, total = z, None
        for part in self.bijections:
            value, log_det = part(value, context)
            total = log_det if total is None else total + log_det
        assert total is not None
        return value, total

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return f₁⁻¹(… f_K⁻¹(x)) and the sum of the log-determinants."""
        if self.memory == "constant":
            return passed(_parts(self, True), x, context)
        value, total = x, None
        for part in reversed(list(self.bijections)):
            value, log_det = part.inverse(value, context)  # pyright: ignore[reportCallIssue]
            total = log_det if total is None else total + log_det
        assert total is not None
        return value, total

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return "once" or "repeated" if any layer has to be, otherwise "undone"."""
        found = {layer.reversal(inverse=turned) for layer, turned in _parts(self, inverse)}
        return "once" if "once" in found else "repeated" if "repeated" in found else "undone"

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Initialise the parts one by one from the data side, each on what reaches it.

        Rows go no further than the last part that reads any.
        """
        parts = [part for part in reversed(list(self.bijections)) if isinstance(part, Bijection)]
        count = max((k + 1 for k, part in enumerate(parts) if reads_data(part)), default=0)
        for k, part in enumerate(parts[:count]):
            part.initialise(x, context)
            if k + 1 < count:
                x, _ = part.inverse(x, context)
        return self


def reads_data(part: Bijection) -> bool:
    """Return whether a bijection, or a part of a chain, has something to set from training rows.

    >>> from diffeo.bijections import Scale, Standardize
    >>> reads_data(Chain(Scale(2), Scale(2))), reads_data(Chain(Scale(2), Standardize(2)))
    (False, True)
    """
    if isinstance(part, Chain) and type(part).initialise is Chain.initialise:
        return any(reads_data(child) for child in part.bijections if isinstance(child, Bijection))
    return type(part).initialise is not Bijection.initialise


def rebuilt(part: Bijection, change: Callable[[Bijection], Bijection]) -> Bijection:
    """Return a bijection with each layer of its nested chains replaced by ``change(layer)``.

    Inverses and rearrangements are gone into too; a subclass of a chain with passes of its own, or one that
    somebody listens to, is a layer. What has no layer changed is the same object; parameters and memory are
    shared and kept.

    >>> from diffeo.bijections import Scale
    >>> chain = Chain(Scale(2), Inverse(Scale(2)))
    >>> rebuilt(chain, lambda layer: layer) is chain
    True
    """
    if composed_as(part, Inverse):
        inner = rebuilt(part.bijection, change)
        return part if inner is part.bijection else Inverse(inner)
    if isinstance(part, Rearranged):
        inner = rebuilt(part.bijection, change)
        return part if inner is part.bijection else part.around(inner)
    if composed_as(part, Chain):
        children = [child for child in part.bijections if isinstance(child, Bijection)]
        parts = [rebuilt(child, change) for child in children]
        same = all(new is old for new, old in zip(parts, children, strict=True))
        return part if same else Chain(*parts, memory=part.memory)
    return change(part)


def set_memory(module: M, memory: str) -> M:
    """Set the memory of every chain in a flow or bijection, "full" or "constant", and return it.

    >>> from diffeo.flows import NICE
    >>> set_memory(NICE(3), "constant").bijection.memory
    'constant'
    """
    for part in module.modules():
        if isinstance(part, Chain):
            part.memory = memory
    return module


def _parts(chain: Chain, inverse: bool) -> list[Step]:
    """Return the layers of a chain, and of those within it, with directions, in the order of a pass."""
    parts = reversed(list(chain.bijections)) if inverse else chain.bijections
    return [step for part in parts if isinstance(part, Bijection) for step in _steps(part, inverse)]


def _steps(bijection: Bijection, inverse: bool) -> list[Step]:
    if composed_as(bijection, Inverse):
        return _steps(bijection.bijection, not inverse)
    if composed_as(bijection, Chain):
        return _parts(bijection, inverse)
    return [(bijection, inverse)]


def layers_of(bijection: Bijection) -> list[tuple[str, Bijection]]:
    """Return the layers of nested chains, noise side first, with their position as in ``"2: Coupling"``.

    The inverse of a chain is taken apart too, into the inverses of its layers.

    >>> from diffeo.bijections import Scale
    >>> [name for name, _ in layers_of(Chain(Scale(2), Chain(Identity(), Scale(2))))]
    ['0: Scale', '1.0: Identity', '1.1: Scale']
    """

    def walk(part: Bijection, path: str) -> list[tuple[str, Bijection]]:
        if isinstance(part, Chain) and part.in_layers:
            found: list[tuple[str, Bijection]] = []
            for k, child in enumerate(part.bijections):
                assert isinstance(child, Bijection)
                found += walk(child, f"{path}.{k}" if path else str(k))
            return found
        if passes_of(part, Inverse) and isinstance(part.bijection, Chain) and part.bijection.in_layers:
            # The inverse of a chain is the chain of the inverses, last first.
            turned = [Inverse(child) for child in part.bijection.bijections if isinstance(child, Bijection)]
            return walk(Chain(*turned[::-1]), path)
        name = getattr(part, "__name__", type(part).__name__)  # an adapter has the name of what it adapts
        return [(f"{path}: {name}" if path else name, part)]

    return walk(bijection, "")
