"""A bijection in the dress of torch.distributions, for Pyro and others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from diffeo.bijections.bijection import Bijection


class BijectionTransform(Transform):
    """A ``torch.distributions.Transform`` that applies a bijection, z → x."""

    bijective = True

    def __init__(self, bijection: Bijection, context: Tensor | None = None) -> None:
        super().__init__(cache_size=0)
        self._bijection, self._context = bijection, context

    @property
    def domain(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return ℝ with the bijection's event dimensions."""
        return constraints.independent(constraints.real, self._bijection.event_ndim)

    @property
    def codomain(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the set that the bijection maps onto."""
        return support_of(self._bijection)

    def _call(self, x: Tensor) -> Tensor:
        return self._bijection(x, self._context)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._bijection.inverse(y, self._context)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log │det ∂y/∂x│ at x."""
        return self._bijection(x, self._context)[1]

    def with_cache(self, cache_size: int = 1) -> BijectionTransform:
        """Return itself: value and determinant come from one pass, so there is nothing to cache."""
        return self

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        """Return the same shape: bijections keep it."""
        return shape

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        """Return the same shape: bijections keep it."""
        return shape


def support_of(bijection: Bijection) -> Any:
    """Return the set that ``bijection`` maps ℝᴰ onto, as a torch constraint on events."""
    base = bijection.codomain or constraints.real
    return constraints.independent(base, bijection.event_ndim)
