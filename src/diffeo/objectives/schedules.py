"""Weights that change over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffeo.errors import ConfigError, number, one_of

SHAPES = ("linear", "cosine", "geometric")


@dataclass(frozen=True)
class Ramp:
    """A weight that goes from ``start`` to ``end`` while a run goes from ``begin`` to ``until``.

    t is the part of the run that is over.

    With s = (t − begin) / (until − begin) within [0, 1]: linear, start + (end − start) s; cosine, the same
    with (1 − cos πs) / 2 for s; geometric, start (end / start)ˢ, both above 0.

    Args:
        start, end: the values before and after.
        begin, until: the parts of the run between which it changes, 0 ≤ begin < until ≤ 1.
        shape: "linear", "cosine" or "geometric".

    Raises:
        ConfigError: an argument is out of its range.

    >>> ramp = Ramp(0.0, 1.0, until=0.5)
    >>> [ramp.at(t) for t in (0.0, 0.25, 0.5, 1.0)]
    [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    begin: float = 0.0
    until: float = 1.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        one_of("shape", self.shape, SHAPES)
        above = 0.0 if self.shape == "geometric" else -math.inf
        number("start", self.start, above=above)
        number("end", self.end, above=above)
        number("begin", self.begin, least=0, below=1)
        number("until", self.until, above=0, most=1)
        if not self.begin < self.until:
            raise ConfigError(f"begin={self.begin!r} must be below until={self.until!r}.")

    def at(self, progress: float) -> float:
        """Return the value when ``progress`` of the run is over."""
        s = min(max((progress - self.begin) / (self.until - self.begin), 0.0), 1.0)
        if self.shape == "geometric":
            return self.start * (self.end / self.start) ** s
        if self.shape == "cosine":
            s = (1 - math.cos(math.pi * s)) / 2
        return self.start + (self.end - self.start) * s


#: A number, or one that changes over the run.
Weight = float | Ramp


def weight_at(weight: Weight, progress: float) -> float:
    """Return the value of a weight when ``progress`` of the run is over."""
    return weight.at(progress) if isinstance(weight, Ramp) else float(weight)


def check_weight(argument: str, given: object) -> None:
    """Raise :class:`ConfigError` unless ``given`` is a :class:`Ramp` or a finite number."""
    if not isinstance(given, Ramp):
        number(argument, given)
