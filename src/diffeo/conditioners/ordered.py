"""Conditioners of autoregressive layers: what each feature's parameters may depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from diffeo.conditioners.conditioner import Conditioner
from diffeo.conditioners.staged import Stages
from diffeo.errors import ConfigError, at_least, one_of

#: "ascending", "descending", or the features from the first to the last.
Order: TypeAlias = str | Sequence[int]

#: adjacency[i][j]: whether the parameters of feature i may depend on feature j.
Adjacency: TypeAlias = Sequence[Sequence[bool]]

#: (D, D) booleans: an adjacency as an array. numpy's, since a file is first read without its numbers.
Graph: TypeAlias = npt.NDArray[np.bool_]

#: Features that an ordered conditioner may have: a graph has their square of entries, which a file that
#: only names a number must not make anybody allocate.
MOST = 10_000


class OrderedConditioner(Conditioner):
    """A conditioner θ = m(x, c) in which θ_i depends on the features before i only.

    It has as many outputs as inputs; which depends on which is a graph without cycles.

    Attributes:
        graph: (D, D) booleans, True at [i, j] where θ_i may depend on x_j.
        levels: the features in groups, each of which depends on features of earlier groups only.
    """

    graph: Graph
    levels: list[list[int]]

    def __init_subclass__(cls, **settings: Any) -> None:
        """Let a class with a network of its own have its own stages, or none."""
        super().__init_subclass__(**settings)
        if "forward" in cls.__dict__ and "stages" not in cls.__dict__:
            cls.stages = OrderedConditioner.stages

    def stages(self) -> Stages | None:
        """Return a pass of this network that goes level by level, or None where it has no such pass.

        It gives what ``forward`` gives to each level, to rounding, and computes nothing twice; a row's does
        not depend on other rows. The method is that of the class that wrote ``forward``: a subclass with
        another network inherits None.
        """
        return None

    @classmethod
    def recorded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Record an order or an adjacency given as an array as plain numbers."""
        plain = {name: value.tolist() for name, value in arguments.items() if hasattr(value, "tolist")}
        return {**arguments, **plain}

    def _order(
        self, features: int, n_params: int, context: int, order: Order, adjacency: Adjacency | None
    ) -> None:
        at_least("features", features, 1)
        if features > MOST:
            raise ConfigError(
                f"features={features} must be at most {MOST}: what depends on what is a table of their "
                "square. Use couplings for more."
            )
        self._sizes(features, features, n_params, context)
        if adjacency is None:
            self.graph = ordered(features, order)
            self.levels = np.argsort(self.graph.sum(-1))[:, None].tolist()
        else:
            self.graph = _given(features, adjacency)
            self.levels = levels(self.graph)


def ordered(features: int, order: Order) -> Graph:
    """Return the graph in which each feature depends on all before it.

    >>> ordered(3, [2, 0, 1]).astype(int)
    array([[0, 0, 1],
           [1, 0, 1],
           [0, 0, 0]])
    """
    if isinstance(order, str):
        one_of("order", order, ("ascending", "descending"))
        line = list(range(features)) if order == "ascending" else list(range(features))[::-1]
    else:
        try:
            line = list(order)
            whole = sorted(line) == list(range(features))
        except (TypeError, ValueError, RuntimeError):
            line, whole = [], False  # what cannot be listed or compared is no order either
        if not whole:
            raise ConfigError(
                f"order={order!r:.80} must hold each of the {features} features once, from the first to "
                f"the last, as {list(range(features))!r:.40}; or be 'ascending' or 'descending'."
            )
    rank = np.argsort(line)
    return rank[:, None] > rank[None, :]


def _given(features: int, adjacency: Adjacency) -> Graph:
    try:
        graph: npt.NDArray[Any] = np.asarray(adjacency)
    except (TypeError, ValueError):
        graph = np.empty(0, dtype=np.bool_)  # what numpy cannot read is no table of booleans either
    if graph.dtype != np.bool_ or graph.shape != (features, features):
        raise ConfigError(
            f"adjacency={adjacency!r:.80} must be {features} rows of {features} booleans, True at [i][j] "
            "where feature i may depend on feature j."
        )
    return graph


def levels(graph: Graph) -> list[list[int]]:
    """Return the features in groups: each depends on features of earlier groups only.

    >>> levels(ordered(3, [2, 0, 1]))
    [[2], [0], [1]]
    """
    waiting, known, groups = set(range(len(graph))), set[int](), list[list[int]]()
    parents = [set(np.flatnonzero(row).tolist()) for row in graph]
    while waiting:
        ready = sorted(i for i in waiting if parents[i] <= known)
        if not ready:
            raise ConfigError(
                f"adjacency makes features {sorted(waiting)} depend on one another in a circle; expected a "
                "graph without cycles: set the entries of one of them to False."
            )
        groups.append(ready)
        known |= set(ready)
        waiting -= set(ready)
    return groups
