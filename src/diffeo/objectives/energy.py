"""Energy distance: how much further apart two samples are than each is in itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.samples import drawn_beside, mean_apart, squared_distances


@dataclass(frozen=True)
class EnergyDistance(Objective):
    """2 E‖x − y‖ᵝ − E‖x − x′‖ᵝ − E‖y − y′‖ᵝ, x data and y draws; unbiased, in units of the data (to the β).

    It is 0 only where both have one law, for 0 < β < 2, and in one dimension with β = 1 twice the integral
    of (F − G)². It has no width to choose. As many draws as rows are compared; no density is needed.

    Source: Székely & Rizzo, *Energy statistics: a class of statistics based on distances* (2013),
    equation 5.

    Args:
        power: β.

    Raises:
        ConfigError: β is out of range; or, by ``loss``, the base has no differentiable draws.
        ShapeError: by ``loss``, fewer than two rows.

    >>> from diffeo.flows import RealNVP
    >>> _ = torch.manual_seed(0)
    >>> EnergyDistance().loss(RealNVP(2).eval(), Batch(torch.randn(500, 2) + 3)).item() > 1
    True
    """

    power: float = 1.0

    unit: ClassVar[str] = "distance between rows"

    def __post_init__(self) -> None:
        number("power", self.power, above=0, below=2)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the unbiased estimate."""
        x, y = drawn_beside(flow, batch)
        across = self._distances(x, y).mean()
        return 2 * across - mean_apart(self._distances(x, x)) - mean_apart(self._distances(y, y))

    def _distances(self, a: Tensor, b: Tensor) -> Tensor:
        squares = squared_distances(a, b)
        # The root of 0 has no derivative: a row's distance to itself is exchanged before, and 0 after.
        apart = squares > 0
        return torch.where(apart, torch.where(apart, squares, 1.0) ** (self.power / 2), 0.0)
