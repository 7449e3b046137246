"""Guidance: parameters pushed away from what they would be without a class."""

from __future__ import annotations

from torch import Tensor

from diffeo.conditioners.ordered import Graph, OrderedConditioner
from diffeo.conditioners.staged import Stages
from diffeo.errors import ConfigError, a_part, number
from diffeo.registry import register


@register("conditioners.Guided")
class Guided(OrderedConditioner):
    """θ = m(x, c) + w (m(x, c) − m(x, 0)): classifier-free guidance of the parameters themselves.

    A context of zeros stands for none: m has learnt with some contexts left out
    (:class:`diffeo.images.NoisyLikelihood`). With this conditioner in its place a flow is still a flow, and
    its density the density of its guided samples.

    Source: Zhai et al., *Normalizing flows are capable generative models* (2024), on guidance.

    Args:
        conditioner: m, with a context.
        weight: w; 0 is m itself.

    Raises:
        ConfigError: the conditioner has no context or no order, or w is negative.

    >>> import torch
    >>> from diffeo.conditioners import CausalTransformer
    >>> guided = Guided(CausalTransformer(3, 2, width=16, context=2), weight=1.5)
    >>> guided(torch.zeros(5, 3), torch.ones(5, 2)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(self, conditioner: OrderedConditioner, weight: float) -> None:
        super().__init__()
        a_part("conditioner", conditioner, OrderedConditioner, "CausalTransformer(3, 2, context=2)")
        number("weight", weight, least=0)
        if not conditioner.context:
            raise ConfigError(
                "conditioner has context=0; expected one with a context: there is none to guide by."
            )
        self.conditioner, self.weight = conditioner, weight
        self._sizes(
            conditioner.in_features, conditioner.out_features, conditioner.n_params, conditioner.context
        )
        self.levels, self.period = conditioner.levels, conditioner.period

    @property
    def graph(self) -> Graph:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return m's."""
        return self.conditioner.graph

    def breadth(self) -> int:
        """Return m's."""
        return self.conditioner.breadth()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (D, n_params)``."""
        without = None if context is None else context * 0.0
        return _pushed(self.conditioner(x, context), self.conditioner(x, without), self.weight)

    def stages(self) -> GuidedStages | None:
        """Return both passes level by level, or None where m has no such pass."""
        both = self.conditioner.stages(), self.conditioner.stages()
        return None if both[0] is None or both[1] is None else GuidedStages(both[0], both[1], self.weight)


class GuidedStages(Stages):
    """θ of one level after another, with and without the context."""

    def __init__(self, given: Stages, without: Stages, weight: float) -> None:
        self._given, self._without, self._weight = given, without, weight

    def begin(self, like: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the first level."""
        without = None if context is None else context * 0.0
        return _pushed(self._given.begin(like, context), self._without.begin(like, without), self._weight)

    def step(self, values: Tensor) -> Tensor:
        """Return θ of the next level."""
        return _pushed(self._given.step(values), self._without.step(values), self._weight)


def _pushed(given: Tensor, without: Tensor, weight: float) -> Tensor:
    return given + weight * (given - without)
