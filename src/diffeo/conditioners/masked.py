"""Masked networks: one pass gives the parameters of every feature, each from the features before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.conditioners.arrival import Arrival, arrival, feature_times, unit_times
from diffeo.conditioners.conditioner import activation_of, hidden_sizes, on_circle, with_context
from diffeo.conditioners.masked_layers import MaskedBlock, MaskedLinear, between, zero
from diffeo.conditioners.masked_stages import MaskedStages
from diffeo.conditioners.ordered import Adjacency, Graph, Order, OrderedConditioner
from diffeo.errors import at_least, number
from diffeo.registry import register


class _Masked(OrderedConditioner):
    """What both masked networks share: the sets that their hidden units see.

    A hidden unit sees the set of features that some θ_i may depend on; a later unit or output reads those
    units whose set lies within its own. Distinct sets are given to units in sorted order, in equal numbers
    (the sorted degrees of MADE). A network too narrow for all sets also has direct connections from the
    features to the outputs, so that no dependence is lost.
    """

    free: nn.Parameter | None
    direct: MaskedLinear | None
    layers: nn.Sequential | None

    #: When inputs, the units of each hidden layer, and outputs arrive, on the way from noise to data.
    arrivals: list[Arrival]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (D, n_params)``."""
        if self.free is not None:
            return self._shaped(self.free.expand(*x.shape[:-1], -1))
        given = with_context(on_circle(x, self.period), context, self.context)
        if self.layers is None:
            assert self.direct is not None
            return self._shaped(self.direct(given))
        theta = self.layers(given)
        return self._shaped(theta if self.direct is None else theta + self.direct(given))

    def stages(self) -> MaskedStages | None:
        """Return θ level by level, each hidden unit computed once; None where units are dropped."""
        if self.free is not None or (self.training and self._drops):
            return None
        settings = self.n_params, self.period, self.context
        return MaskedStages(self.layers, self.direct, self.arrivals, *settings)

    def _arrive(self, seen: Sequence[Graph]) -> None:
        """Note when what arrives; ``seen`` is what the units of each hidden layer see."""
        features, count = feature_times(self.levels), len(self.levels)
        inputs = np.tile(features + 1, 1 if self.period is None else 2)
        times = [np.pad(inputs, (0, self.context)), *(unit_times(sets, features) for sets in seen)]
        self.arrivals = [arrival(those, count) for those in [*times, features.repeat(self.n_params)]]

    def outlet(self) -> nn.Parameter | None:
        """Return the last bias; that of the direct connections where there are no others."""
        if self.free is None and self.layers is None and self.direct is not None:
            return self.direct.bias
        return super().outlet()

    def _distinct(self) -> Graph:
        """Return the distinct sets of parents, smallest first, (sets, D).

        The empty one is there only where a unit that sees it has a context to see.
        """
        # Eight entries a byte: the same order, and comparing rows takes an eighth.
        _, first = np.unique(np.packbits(self.graph, axis=-1), axis=0, return_index=True)
        sets = self.graph[first]
        sets = sets[np.argsort(sets.sum(-1), kind="stable")]
        return sets if self.context else sets[sets.any(-1)]

    def _seen(self, width: int) -> Graph:
        """Return what each of ``width`` hidden units sees, (width, D)."""
        sets = self._distinct()
        return sets[np.arange(width) * len(sets) // width]

    def _entry(self, seen: Graph) -> MaskedLinear:
        return MaskedLinear(self._input(seen))

    def _exit(self, seen: Graph) -> MaskedLinear:
        return zero(MaskedLinear(self._repeated(_within(seen, self.graph))))

    def _direct(self, widths: Sequence[int]) -> MaskedLinear | None:
        if min(widths, default=0) >= len(self._distinct()):
            return None
        return zero(MaskedLinear(self._input(self._repeated(self.graph))))

    def _input(self, mask: Graph) -> Graph:
        """Return the mask for what is seen: x, or its cosines and sines, and all of the context."""
        seen = mask if self.period is None else np.tile(mask, (1, 2))
        return np.pad(seen, ((0, 0), (0, self.context)), constant_values=True)

    def _repeated(self, mask: Graph) -> Graph:
        return mask.repeat(self.n_params, 0)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, (self.out_features, self.n_params))


def _within(seen: Graph, by: Graph) -> Graph:
    """Return where the set ``seen[u]`` lies within ``by[v]``, (v, u)."""
    # Counted in a product of matrices: a table of (v, u, D) would not fit where there are thousands.
    beyond = (~by).astype(np.float32) @ seen.T.astype(np.float32)
    return np.asarray(beyond == 0)


@register("conditioners.MaskedMLP")
class MaskedMLP(_Masked):
    """θ = W_L σ(… σ((W₁ ⊙ M₁) [x, c] + b₁) …) + b_L in which θ_i sees the features before i only: MADE.

    W_L and b_L are zero at the start. Hidden units have sorted degrees, evenly spread, for any order or any
    graph without cycles; a network narrower than the number of distinct sets of parents gets direct
    connections from x to θ as well, so that each declared dependence is there.

    Source: Germain, Gregor, Murray & Larochelle, *MADE* (2015), equations 8, 9 and 13; for a graph,
    Wehenkel & Louppe, *Graphical normalizing flows* (2021).

    Args:
        features: D, of x and of θ.
        n_params: parameters per feature (the law's ``n_params``).
        hidden: hidden widths.
        activation: as for :class:`~diffeo.conditioners.MLP`.
        context: features of the context.
        order: "ascending", "descending", or the features from the first to the last.
        adjacency: (D, D) booleans instead of an order; True at [i][j] where θ_i may depend on x_j.
        dropout: probability of dropping a hidden unit in training.
        period: the length of the circle that the features lie on, as 2π for angles: the network then sees
            [cos(2π x / period), sin(2π x / period)], so that θ is continuous where the circle closes.

    Raises:
        ConfigError: an argument is out of range, or the graph has a cycle.

    >>> net = MaskedMLP(3, 2, hidden=(16,))
    >>> net(torch.zeros(5, 3)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        features: int,
        n_params: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        context: int = 0,
        order: Order = "ascending",
        adjacency: Adjacency | None = None,
        dropout: float = 0.0,
        period: float | None = None,
    ) -> None:
        super().__init__()
        self._order(features, n_params, context, order, adjacency)
        self._lies_on(period)
        activation_of(activation)
        number("dropout", dropout, least=0, below=1)
        self._drops = dropout > 0
        widths = hidden_sizes(hidden)
        self.layers = self.direct = None
        self.free = None
        if not context and not self.graph.any():
            self.free = nn.Parameter(torch.zeros(features * n_params))
            return
        self.direct = self._direct(widths)
        seen = [self._seen(width) for width in widths]
        self._arrive(seen)
        if not widths:
            return
        layers: list[nn.Module] = [self._entry(seen[0])]
        for before, after in pairwise(seen):
            layers += between(activation, dropout)
            layers.append(MaskedLinear(_within(before, after)))
        self.layers = nn.Sequential(*layers, *between(activation, dropout), self._exit(seen[-1]))


@register("conditioners.MaskedResidualMLP")
class MaskedResidualMLP(_Masked):
    """:class:`~diffeo.conditioners.ResidualMLP` with the masks of :class:`MaskedMLP`.

    Source: Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019), section 5 and appendix B.1
    ("ResMADE" of Nash & Durkan, *Autoregressive energy machines*, 2019).

    Args:
        features: D, of x and of θ.
        n_params: parameters per feature (the law's ``n_params``).
        width: hidden units.
        blocks: residual blocks.
        activation: as for :class:`~diffeo.conditioners.MLP`.
        context: features of the context.
        order, adjacency: as for :class:`MaskedMLP`.
        dropout: probability of dropping a unit inside a block in training.
        period: as for :class:`MaskedMLP`.

    Raises:
        ConfigError: an argument is out of range, or the graph has a cycle.

    >>> MaskedResidualMLP(3, 2, width=16)(torch.zeros(5, 3)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        features: int,
        n_params: int,
        *,
        width: int = 64,
        blocks: int = 2,
        activation: str = "silu",
        context: int = 0,
        order: Order = "ascending",
        adjacency: Adjacency | None = None,
        dropout: float = 0.0,
        period: float | None = None,
    ) -> None:
        super().__init__()
        self._order(features, n_params, context, order, adjacency)
        self._lies_on(period)
        activation_of(activation)
        number("dropout", dropout, least=0, below=1)
        self._drops = dropout > 0
        at_least("width", width, 1)
        at_least("blocks", blocks, 0)
        self.direct = None
        self.free = None
        if not context and not self.graph.any():
            self.free = nn.Parameter(torch.zeros(features * n_params))
            return
        self.direct = self._direct([width])
        seen = self._seen(width)
        self._arrive([seen])
        inputs, units, outputs = self.arrivals
        self.arrivals = [inputs, *[units] * (2 * blocks + 1), outputs]
        self.layers = nn.Sequential(
            self._entry(seen),
            *(MaskedBlock(_within(seen, seen), activation, dropout) for _ in range(blocks)),
            activation_of(activation),
            self._exit(seen),
        )
