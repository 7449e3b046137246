"""Whether a layer is still what the compiled kernels were told: they read memory, and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.listening import HOOKS, METHODS


class Told:
    """What a layer was when the kernels were told of it.

    It is asked in every pass, so that the dictionaries in which modules hold things are held themselves.

    Args:
        layer: the layer.
        parameters: those that the kernels read.
    """

    def __init__(self, layer: Bijection, parameters: Sequence[Tensor]) -> None:
        parts = list(layer.modules())
        kinds = ("_parameters", "_modules")
        held = [part.__dict__[kind] for part in parts for kind in kinds]
        places = [(those, name, each) for those in held for name, each in those.items()]
        places.append((layer.__dict__, "law", layer.__dict__["law"]))
        self._dicts, self._names, self._there = map(list, zip(*places, strict=True))
        self._parameters = [(p, p.shape) for p in parameters]
        self._hooks = [part.__dict__[name] for part in parts for name in HOOKS]
        self._own = [part.__dict__ for part in parts]
        buffers = [part.__dict__["_buffers"] for part in parts]
        self._buffers = [_Buffer(held, name) for held in buffers for name in held if held[name] is not None]

    def holds(self) -> bool:
        """Return whether the layer still has the same parts, in float32 on the processor, and no hooks."""
        return (
            all(map(is_, map(dict.get, self._dicts, self._names), self._there))
            and not any(self._hooks)
            and not any(name in own for own in self._own for name in METHODS)
            and all(
                p.dtype is torch.float32 and p.is_cpu and p.shape == shape for p, shape in self._parameters
            )
            and all(buffer.holds() for buffer in self._buffers)
        )


class _Buffer:
    """A mask, or whatever else a layer has beside its parameters, which the kernels have a copy of."""

    def __init__(self, held: dict[str, Any], name: str) -> None:
        self._held, self._name = held, name
        self._buffer: Tensor = held[name]
        self._version, self._contents = _version(self._buffer), _contents(self._buffer)

    def holds(self) -> bool:
        """Return whether it is the same; one that was moved and came back, or was loaded, is read again."""
        buffer: Tensor | None = self._held.get(self._name)
        if buffer is None:
            return False
        if buffer is self._buffer and _version(buffer) == self._version:
            return True
        if _contents(buffer) != self._contents:
            return False
        self._buffer, self._version = buffer, _version(buffer)
        return True


def _version(buffer: Tensor) -> int:
    """Return how often a tensor was written to; one of inference mode does not count."""
    return -1 if buffer.is_inference() else buffer._version


def _contents(buffer: Tensor) -> tuple[Any, ...]:
    data = buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return buffer.shape, buffer.dtype, buffer.device, zlib.crc32(data.tobytes())
