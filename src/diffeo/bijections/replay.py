"""What a layer says of its own undoing: what it costs, and what comes of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

from diffeo.laws import Inverted, Law
from diffeo.laws.numeric import NumericLaw

#: How the input of a direction, which was not kept, can be had again: "undone" by the other direction, at
#: about the same cost; "repeated" from a kept input, since the other direction is a search or takes many
#: passes; "once": the pass leaves something behind, as running statistics, and must not run again.
Reversal: TypeAlias = Literal["undone", "repeated", "once"]


class Replay(NamedTuple):
    """A direction of a layer, run again with gradients on the input that was recovered from its output.

    Attributes:
        parts: the recovered input, in one leaf or several.
        value: what the direction makes of it.
        log_det: its log-determinant.
        joined: makes one tensor, of the input's shape, of the parts (or of their gradients).
    """

    parts: tuple[Tensor, ...]
    value: Tensor
    log_det: Tensor
    joined: Callable[[Sequence[Tensor]], Tensor]


def whole(parts: Sequence[Tensor]) -> Tensor:
    """Return the one part."""
    (part,) = parts
    return part


class _Thread(threading.local):
    repeating = False


_THREAD = _Thread()


@contextlib.contextmanager
def repeating() -> Generator[None]:
    """Say meanwhile, in this thread, that layers are run again for the sake of a gradient."""
    before, _THREAD.repeating = _THREAD.repeating, True
    try:
        yield
    finally:
        _THREAD.repeating = before


def is_repeating() -> bool:
    """Return whether a layer is run again for the sake of a gradient: possibly not for the last time.

    >>> is_repeating()
    False
    >>> with repeating():
    ...     is_repeating()
    True
    """
    return _THREAD.repeating


def searched(law: Law, *, inverse: bool) -> bool:
    """Return whether a law finds this direction by a search, and not by a formula.

    >>> from diffeo.laws import SumOfSquares
    >>> searched(SumOfSquares(), inverse=True), searched(Inverted(SumOfSquares()), inverse=True)
    (True, False)
    """
    if isinstance(law, Inverted):
        return searched(law.law, inverse=not inverse)
    return inverse and isinstance(law, NumericLaw)
