"""Gradients that go straight to where an optimizer reads them, past autograd's accumulation."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter


class Claim(NamedTuple):
    """What one pass writes to.

    Attributes:
        numbers: ``id`` of each parameter.
        places: for the gradient of each.
        written: the sink's: what was written.
    """

    numbers: list[int]
    places: list[Tensor]
    written: set[int]

    def tell(self) -> None:
        """Say that the gradients are there."""
        self.written.update(self.numbers)


class Sink:
    """A place for the gradient of each parameter, for one backward pass at a time.

    While it is open, the first pass through a run of layers claims the places of its parameters, and its
    way back writes their gradients there. Autograd then neither makes a tensor of each nor adds them up one
    by one. Whatever else has a gradient towards the same parameters (a second pass, another part that
    shares them, a penalty) goes through autograd as ever, and is added by the sink's owner: ``written``
    says what was written.

    A parameter that has hooks, or is frozen, is not claimed, and so nothing of its run.

    Args:
        places: each parameter, and the tensor of its shape that its gradient is written to.

    Attributes:
        gate: an argument for functions whose parameters are claimed: it makes them part of the graph.
        written: ``id`` of each parameter whose gradient was written since the sink was opened.

    >>> weight = Parameter(torch.ones(2))
    >>> sink = Sink([(weight, torch.zeros(2))])
    >>> with sink.opened():
    ...     sink.claim([weight]) is not None, sink.claim([weight])
    (True, None)
    >>> sink.claim([weight])  # closed
    """

    def __init__(self, places: Iterable[tuple[Parameter, Tensor]]) -> None:
        held = [(p, place) for p, place in places if place.is_contiguous()]
        self._parameters = [p for p, _ in held]  # so that nothing else is given their numbers
        self._places = {id(p): place for p, place in held}
        self._open = False
        self._claimed: set[int] = set()
        self.written: set[int] = set()
        self.gate = torch.zeros((), requires_grad=True)

    @contextlib.contextmanager
    def opened(self) -> Generator[None]:
        """Open it for one backward pass; nothing is claimed or written to begin with."""
        self._claimed.clear()
        self.written.clear()
        self._open = True
        try:
            yield
        finally:
            self._open = False

    def forget(self) -> None:
        """Take for nothing what was written until now: a loss may differentiate on the way to its value."""
        self.written.clear()

    def claim(self, parameters: Sequence[Tensor]) -> Claim | None:
        """Return the places of ``parameters``, which are then taken; None where any cannot be had."""
        if not self._open:
            return None
        numbers = [id(p) for p in parameters]
        wanted = set(numbers)
        if len(wanted) < len(numbers) or not self._claimed.isdisjoint(wanted):
            return None
        places = [self._places.get(number) for number in numbers]
        if any(place is None for place in places) or any(map(_heard, parameters)):
            return None
        self._claimed |= wanted
        return Claim(numbers, [place for place in places if place is not None], self.written)


def _heard(p: Tensor) -> bool:
    """Return whether a gradient has to go through autograd: there are hooks, or none is wanted."""
    return not p.requires_grad or bool(
        p._backward_hooks or p._post_accumulate_grad_hooks  # pyright: ignore
    )
