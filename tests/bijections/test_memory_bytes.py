"""Constant memory, in bytes: the activations of one layer, however many there are."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from diffeo.bijections import Chain, Coupling, Mask, set_memory
from diffeo.bijections.recovery import _Back
from diffeo.conditioners import MLP
from diffeo.laws import Affine


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, of all that an operation made, and the most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return made

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.seen:
            return
        self.seen.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def most(count: int, memory: str) -> int:
    """Return the most bytes alive in a training step of so many couplings, above those of the parameters.

    All share one network, so that its gradient does not grow with the couplings.
    """
    torch.manual_seed(0)
    network = MLP(4, 4, 2, hidden=(64, 64))
    layers = [Coupling(Affine(0.1), network, Mask.alternating(8, flip=k % 2 == 1)) for k in range(count)]
    chain = set_memory(Chain(*layers), memory)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.add_(0.003 * torch.randn_like(parameter))
    x = torch.randn(2048, 8)
    with Live() as live:
        value, log_det = chain.inverse(x)
        (value.square().sum(-1) / 2 - log_det).mean().backward()
    return live.most


def test_memory_does_not_grow_with_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def settled(self: _Back, output: Tensor) -> None:
        raise AssertionError("a run did not come back")

    monkeypatch.setattr(_Back, "_settled", settled)
    few, many = most(8, "constant"), most(128, "constant")
    assert many < 1.3 * few
    assert most(16, "full") > 1.9 * most(8, "full") > 3 * few
