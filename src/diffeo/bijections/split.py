"""Factoring out: some elements go through a bijection, the others pass it by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.pattern import Pattern
from diffeo.bijections.replay import Reversal
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, a_part, at_least
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


@register("bijections.Split")
class Split(Bijection):
    """x = (f(z₁), z₂): the first ``at`` features or channels go through f, the others pass it by.

    log │det ∂x/∂z│ is f's. A multi-scale flow is a chain of them, the layers of the next scale inside: what
    passes by has been factored out, and costs no more layers.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.6, equations 13–16.

    Args:
        shape: the number of features, or an event shape; its first dimension is split.
        at: how many features or channels go through f; all of them pass none by.
        bijection: f, of events ``(at, …)``.

    Raises:
        ConfigError: ``at`` or the event shape of ``bijection`` does not fit ``shape``.
        ShapeError: a value does not end in ``shape``.

    >>> from diffeo.bijections import Softplus
    >>> Split(3, 1, Softplus())(torch.tensor([0.0, 5.0, 6.0]))
    (tensor([0.6931, 5.0000, 6.0000]), tensor(-0.6931))
    """

    def __init__(self, shape: int | Sequence[int], at: int, bijection: Bijection) -> None:
        super().__init__()
        self.event_shape = event_shape_of(shape)
        self.event_ndim = len(self.event_shape)
        at_least("at", at, 1)
        a_part("bijection", bijection, Bijection, "Scale(2)")
        if at > self.event_shape[0]:
            raise ConfigError(
                f"at={at} is more than there are in shape={tuple(self.event_shape)}; expected at most "
                f"{self.event_shape[0]}: pass how many of them go through the bijection."
            )
        wanted = torch.Size([at, *self.event_shape[1:]])
        found = getattr(bijection, "event_shape", wanted)
        if bijection.event_ndim != self.event_ndim or found != wanted:
            raise ConfigError(
                f"bijection has events of {bijection.event_ndim} dimension(s), of shape {tuple(found)}; "
                f"expected {tuple(wanted)}, the first {at} of shape={tuple(self.event_shape)}: build it so."
            )
        self.at, self.bijection = at, bijection
        if bijection.codomain is not None:  # not that of what passes by
            self.codomain = constraints.real

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (f(z₁), z₂) and f's log-determinant."""
        check_event("z", z, self.event_shape)
        first, rest = self._parts(z)
        moved, log_det = self.bijection(first, context)
        return self._joined(moved, log_det, rest)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (f⁻¹(x₁), x₂) and the log-determinant of f⁻¹."""
        check_event("x", x, self.event_shape)
        first, rest = self._parts(x)
        moved, log_det = self.bijection.inverse(first, context)
        return self._joined(moved, log_det, rest)

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Initialise the bijection on what reaches it."""
        check_event("x", x, self.event_shape)
        self.bijection.initialise(self._parts(x)[0], context)
        return self

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the bijection's, and 0 for what passes by."""
        (before, _), (after, rest) = self._parts(given), self._parts(value)
        inner = self.bijection.rounding_scale(before, after, inverse=inverse)
        return torch.cat([inner, torch.zeros_like(rest)], -self.event_ndim)

    def pattern(self, *, inverse: bool) -> Pattern:
        """Return that what passes by is kept, and that the rest never sees it."""
        size, inside = self.event_shape.numel(), self.at * self.event_shape[1:].numel()
        kept = np.arange(size) >= inside
        may = np.diag(kept)
        inner = self.bijection.pattern(inverse=inverse)
        may[:inside, :inside] = True if inner is None else inner.may
        if inner is not None:
            kept[:inside] = inner.kept
        return Pattern(may, kept)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return the bijection's."""
        return self.bijection.reversal(inverse=inverse)

    def _parts(self, value: Tensor) -> tuple[Tensor, Tensor]:
        axis, count = -self.event_ndim, self.event_shape[0]
        return value.narrow(axis, 0, self.at), value.narrow(axis, self.at, count - self.at)

    def _joined(self, moved: Tensor, log_det: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        # A context may have given the bijection a larger batch than the value had.
        batch = moved.shape[: moved.ndim - self.event_ndim]
        rest = rest.expand(*batch, *rest.shape[rest.ndim - self.event_ndim :])
        return torch.cat([moved, rest], -self.event_ndim), log_det
