"""Masks: which features a coupling passes unchanged (x₁) and which it moves (x₂)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, at_least, flag, one_of
from diffeo.registry import register

_KINDS = ("halves", "alternating", "checkerboard", "channelwise", "channels", "given")


@register("bijections.Mask")
@dataclass(frozen=True)
class Mask:
    """A partition of an event's elements; True means "passed unchanged" (x₁).

    Use the constructors :meth:`halves`, :meth:`alternating`, :meth:`checkerboard`, :meth:`channelwise`,
    :meth:`channels` and :meth:`given`. With ``flip`` the two parts exchange their roles, except in one
    dimension, where the only element is always moved (a coupling that moved nothing would waste a layer).

    Sources: halves and alternating (odd/even), NICE (2014), section 3.2; checkerboard and channel-wise,
    Real NVP (2017), section 3.4.

    >>> Mask.alternating(4).tensor()
    tensor([ True, False,  True, False])
    >>> Mask.checkerboard((1, 2, 2)).tensor()
    tensor([[[ True, False],
             [False,  True]]])
    """

    kind: str
    shape: Sequence[int]
    flip: bool = False
    elements: Sequence[bool] | None = None

    def __post_init__(self) -> None:
        one_of("kind", self.kind, _KINDS)
        if not isinstance(self.shape, list | tuple):
            raise ConfigError(f"shape={self.shape!r} must be a sequence of sizes, as (3, 32, 32).")
        object.__setattr__(self, "shape", tuple(event_shape_of(self.shape)))
        if self.kind in ("checkerboard", "channelwise", "channels") and len(self.shape) != 3:
            raise ConfigError(f"shape={self.shape!r} must be (channels, height, width).")
        if self.kind in ("halves", "alternating") and len(self.shape) != 1:
            raise ConfigError(f"shape={self.shape!r} must be one number of features, as (4,).")
        flag("flip", self.flip)
        if self.kind in ("given", "channels"):
            elements, each = self.elements, "channel" if self.kind == "channels" else "element"
            if elements is None or len(elements) != self._booleans():
                raise ConfigError(
                    f"elements={elements!r:.80} must hold one boolean for each {each} of {self.shape}."
                )
            object.__setattr__(self, "elements", tuple(bool(item) for item in elements))

    @classmethod
    def halves(cls, features: int, flip: bool = False) -> Self:
        """Pass the first ⌊D/2⌋ features, move the rest."""
        at_least("features", features, 1)
        return cls("halves", (features,), flip)

    @classmethod
    def alternating(cls, features: int, flip: bool = False) -> Self:
        """Pass the features with an even index, move the odd ones."""
        at_least("features", features, 1)
        return cls("alternating", (features,), flip)

    @classmethod
    def checkerboard(cls, shape: Sequence[int], flip: bool = False) -> Self:
        """Pass the pixels with h + w even, in every channel."""
        return cls("checkerboard", shape, flip)

    @classmethod
    def channelwise(cls, shape: Sequence[int], flip: bool = False) -> Self:
        """Pass the first ⌊C/2⌋ channels."""
        return cls("channelwise", shape, flip)

    @classmethod
    def channels(cls, shape: Sequence[int], passed: Sequence[bool], flip: bool = False) -> Self:
        """Pass the channels that are True in ``passed``."""
        return cls("channels", shape, flip, passed)

    @classmethod
    def given(cls, passed: Any) -> Self:
        """Pass the elements that are True in ``passed`` (a nested sequence, array or tensor)."""
        try:
            tensor = torch.as_tensor(passed, device="cpu")  # whatever the default device is
        except (TypeError, ValueError, RuntimeError):
            tensor = torch.empty(0)  # what torch cannot read is no booleans either
        if tensor.dtype != torch.bool or tensor.numel() == 0:
            raise ConfigError(
                f"mask={passed!r:.80} must hold booleans, True for what is passed unchanged, as "
                "[True, False]."
            )
        return cls("given", tuple(tensor.shape), False, tuple(tensor.flatten().tolist()))

    @classmethod
    def of(cls, mask: Any) -> Self:
        """Return ``mask`` itself, or the mask that booleans describe."""
        return mask if isinstance(mask, cls) else cls.given(mask)

    @property
    def contiguous(self) -> bool:
        """Whether x₁ comes before x₂, or after it, in one piece each (flattened)."""
        return self.kind in ("halves", "channelwise")

    @property
    def n_passed(self) -> int:
        """Return how many elements are passed unchanged."""
        total = math.prod(self.shape)
        if total == 1 and self.elements is None:
            return 0
        if self.kind == "halves":
            passed = total // 2
        elif self.kind == "alternating":
            passed = (total + 1) // 2
        elif self.kind == "checkerboard":
            channels, height, width = self.shape
            passed = channels * ((height * width + 1) // 2)
        elif self.kind == "channelwise":
            channels, height, width = self.shape
            passed = (channels // 2) * height * width
        else:
            assert self.elements is not None
            passed = sum(self.elements) * (total // self._booleans())
        return total - passed if self.flip else passed

    @property
    def n_moved(self) -> int:
        """Return how many elements are moved."""
        return math.prod(self.shape) - self.n_passed

    def tensor(self) -> Tensor:
        """Return the mask as a boolean tensor of the event shape."""
        if math.prod(self.shape) == 1 and self.elements is None:
            return torch.zeros(tuple(self.shape), dtype=torch.bool)
        if self.kind in ("halves", "channelwise"):
            size = self.shape[0]
            line = torch.arange(size) < size // 2
            passed = line.reshape(-1, *[1] * (len(self.shape) - 1)).expand(tuple(self.shape))
        elif self.kind == "alternating":
            passed = torch.arange(self.shape[0]) % 2 == 0
        elif self.kind == "checkerboard":
            _, height, width = self.shape
            board = torch.arange(height)[:, None] + torch.arange(width)
            passed = (board % 2 == 0).expand(tuple(self.shape))
        else:
            given = torch.tensor(self.elements, dtype=torch.bool)
            if self.kind == "channels":
                given = given.reshape(-1, 1, 1).expand(tuple(self.shape))
            passed = given.reshape(tuple(self.shape))
        return ~passed if self.flip else passed.clone()

    def _booleans(self) -> int:
        """Return how many booleans ``elements`` holds, where it holds any."""
        return self.shape[0] if self.kind == "channels" else math.prod(self.shape)
