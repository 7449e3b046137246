"""Whether a module does what its class says, and nobody listens: what computes it otherwise has to know."""

from __future__ import annotations

from typing import Any, TypeGuard, TypeVar

import torch

P = TypeVar("P")

#: Where a module holds its hooks.
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

#: The methods that an object may have been given in the place of its class's.
METHODS = ("forward", "inverse")


def listened_to(module: Any) -> bool:
    """Return whether a module has hooks or methods of its own, or torch has hooks of all modules.

    >>> layer = torch.nn.Linear(2, 2)
    >>> listened_to(layer)
    False
    >>> hook = layer.register_forward_hook(lambda *given: None)
    >>> listened_to(layer)
    True
    """
    held = module.__dict__
    return any(held[name] for name in HOOKS) or any(name in held for name in METHODS) or all_listened_to()


def all_listened_to() -> bool:
    """Return whether torch has hooks that are called for every module."""
    return bool(torch.nn.modules.module._has_any_global_hook())  # pyright: ignore[reportPrivateUsage]


def passes_of(part: object, kind: type[P]) -> TypeGuard[P]:
    """Return whether a part is of a kind, and its class has no passes of its own."""
    return isinstance(part, kind) and all(
        getattr(type(part), name) is getattr(kind, name) for name in METHODS
    )


def composed_as(part: object, kind: type[P]) -> TypeGuard[P]:
    """Return whether a part of a kind may be taken apart: what it computes is what the kind computes."""
    return passes_of(part, kind) and not listened_to(part)
