"""Level by level: the parameters of an autoregressive layer while its features become known."""

from __future__ import annotations

from torch import Tensor


class Stages:
    """θ of one level after another, for one pass: made by a conditioner, and given up after the pass.

    What is known so far is kept here, never on the conditioner, which many threads may share.
    """

    def begin(self, like: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the first level, (rows, features of the level, n_params).

        ``like`` is (rows, D), of the number of rows, dtype and device of what will be told; ``context`` is
        (rows, its features).
        """
        raise NotImplementedError  # abstract

    def step(self, values: Tensor) -> Tensor:
        """Return θ of the next level, (rows, features of the level, n_params).

        ``values``: x of the level before, (rows, its features), as a conditioner sees it: finite.
        """
        raise NotImplementedError  # abstract
