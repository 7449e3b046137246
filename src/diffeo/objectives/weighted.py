"""Sums of objectives, each with a weight that may change over the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.schedules import Weight, check_weight, weight_at


@dataclass(frozen=True)
class Weighted(Objective):
    """L(θ) = Σₖ wₖ(t) Lₖ(θ), in the unit of its parts where they have one.

    t is the part of the run that is over (``Batch.progress``, which :func:`diffeo.fit` states). A part
    whose weight is 0 is not computed. Sums nest.

    Args:
        objectives: Lₖ.
        weights: wₖ, a number or a :class:`Ramp` each; None for 1.

    Raises:
        ConfigError: there is none, one is no objective, or there are not as many weights.

    >>> from diffeo.flows import RealNVP
    >>> from diffeo.objectives import MMD, MaximumLikelihood, Ramp
    >>> both = Weighted([MMD(), MaximumLikelihood()], [1.0, Ramp(0.0, 1.0, until=0.5)])
    >>> both.unit, both.loss(RealNVP(2), Batch(torch.zeros(8, 2))).shape
    ('mixed units', torch.Size([]))
    """

    objectives: Sequence[Objective]
    weights: Sequence[Weight] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.objectives, list | tuple) or not self.objectives:
            raise ConfigError(f"objectives={self.objectives!r:.60} must be a list of diffeo objectives.")
        for k, part in enumerate(self.objectives):
            if not isinstance(part, Objective):
                raise ConfigError(
                    f"objectives[{k}] is a {type(part).__name__}; expected a diffeo objective, as "
                    "MaximumLikelihood()."
                )
        weights: Any = [1.0] * len(self.objectives) if self.weights is None else self.weights
        if not isinstance(weights, list | tuple) or len(weights) != len(self.objectives):
            raise ConfigError(
                f"weights={weights!r:.60} must be a list of {len(self.objectives)}, one for each objective."
            )
        for k, weight in enumerate(weights):
            check_weight(f"weights[{k}]", weight)
        object.__setattr__(self, "objectives", tuple(self.objectives))
        object.__setattr__(self, "weights", tuple(weights))

    @property
    def unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the parts' unit, or that they have several."""
        units = {part.unit for part in self.objectives}
        return units.pop() if len(units) == 1 else "mixed units"

    @property
    def evaluations_apart(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the most that a part asks for."""
        return max(part.evaluations_apart for part in self.objectives)

    @property
    def first_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return whether all parts are."""
        return all(part.first_order for part in self.objectives)

    @property
    def resumable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return whether all parts are."""
        return all(part.resumable for part in self.objectives)

    @property
    def needs_data(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return whether a part does."""
        return any(part.needs_data for part in self.objectives)

    def begun(self) -> Objective:
        """Return the sum of the parts as one run uses them."""
        return Weighted([part.begun() for part in self.objectives], self.weights)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the sum at the batch's progress."""
        assert self.weights is not None
        pairs = zip(self.weights, self.objectives, strict=True)
        values = [(weight_at(weight, batch.progress), part) for weight, part in pairs]
        terms = [value * part.loss(flow, batch) for value, part in values if value != 0]
        if not terms:
            raise ConfigError(
                f"all weights are 0 when {batch.progress:.3g} of the run is over; expected one that is "
                "not: begin a Ramp above 0."
            )
        return torch.stack(terms).sum()
