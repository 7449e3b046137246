"""Masked networks level by level: each hidden unit is computed once, when the last that it sees is known.

A full pass for each of D levels costs D passes; all that arrives, level by level, costs one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from torch import Tensor, nn

from diffeo.conditioners.arrival import Arrival
from diffeo.conditioners.arriving import Elementwise, Residual, Stage, StagedLinear, through
from diffeo.conditioners.conditioner import on_circle
from diffeo.conditioners.masked_layers import MaskedBlock, MaskedLinear
from diffeo.conditioners.staged import Stages


class MaskedStages(Stages):
    """θ of one level after another, of a masked network.

    Args:
        layers: from the inputs to the outputs; none where there are direct connections only.
        direct: the connections from the inputs to the outputs, if there are.
        arrivals: when inputs, the units of each hidden layer, and outputs arrive.
        n_params: parameters per feature.
        period: of the circle that the features lie on.
        context: features of the context.
    """

    def __init__(
        self,
        layers: Iterable[nn.Module] | None,
        direct: MaskedLinear | None,
        arrivals: Sequence[Arrival],
        n_params: int,
        period: float | None,
        context: int,
    ) -> None:
        self._n_params, self._period, self._context, self._time = n_params, period, context, 0
        self._routes: list[list[Stage]] = []
        if layers is not None:
            self._routes.append(list(_staged(layers, pairwise(arrivals))))
        if direct is not None:
            self._routes.append(list(_staged([direct], iter([(arrivals[0], arrivals[-1])]))))

    def begin(self, like: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the first level, from the context alone."""
        return self._arriving(like[:, :0] if context is None or not self._context else context)

    def step(self, values: Tensor) -> Tensor:
        """Return θ of the next level, (rows, features of the level, n_params)."""
        return self._arriving(on_circle(values, self._period))

    def _arriving(self, given: Tensor) -> Tensor:
        fresh = given.t()  # units first
        first, *others = [through(route, self._time, fresh) for route in self._routes]
        self._time += 1
        theta = first + others[0] if others else first
        return theta.t().unflatten(-1, (-1, self._n_params))


def _staged(parts: Iterable[nn.Module], layers: Iterator[tuple[Arrival, Arrival]]) -> Iterator[Stage]:
    """Yield what becomes of arriving units in each part; ``layers`` are its inputs and outputs."""
    for part in parts:
        if isinstance(part, MaskedLinear):
            inputs, outputs = next(layers)
            yield StagedLinear(part.masked_weight(), part.bias, outputs, inputs)
        elif isinstance(part, MaskedBlock):
            yield Residual(list(_staged(part.inner, layers)))
        elif not isinstance(part, nn.Dropout):
            yield Elementwise(part)
