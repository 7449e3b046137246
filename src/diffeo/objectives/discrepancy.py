"""Maximum mean discrepancy: the distance of the means in the space of a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import ConfigError, number, one_of
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.samples import drawn_beside, mean_apart, squared_distances


@dataclass(frozen=True)
class MMD(Objective):
    """MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y), x data and y draws; unbiased, without unit.

    k is the mean of kernels of several widths h: Gaussian exp(−‖x − y‖² / 2h²), or rational quadratic
    1 / (1 + ‖x − y‖² / 2h²), whose far pairs still pull. The estimate leaves a row's pair with itself out,
    and can be below 0. It compares as many draws as there are rows, and needs no density of the flow.

    Source: Gretton, Borgwardt, Rasch, Schölkopf & Smola, *A kernel two-sample test* (2012), equation 3; for
    generators, Li, Swersky & Zemel, *Generative moment matching networks* (2015).

    Args:
        widths: h, in units of the data; None for the median distance within the batch's data, times
            ``factors``.
        factors: multiples of the median.
        kernel: "gaussian" or "rational".

    Raises:
        ConfigError: an argument is out of its range; or, by ``loss``, the base has no differentiable draws.
        ShapeError: by ``loss``, fewer than two rows.

    >>> from diffeo.flows import RealNVP
    >>> _ = torch.manual_seed(0)
    >>> MMD().loss(RealNVP(2).eval(), Batch(torch.randn(500, 2) + 3)).item() > 0.1
    True
    """

    widths: Sequence[float] | None = None
    factors: Sequence[float] = (0.25, 0.5, 1.0, 2.0)
    kernel: str = "gaussian"

    unit: ClassVar[str] = "squared distance of kernel means"

    def __post_init__(self) -> None:
        one_of("kernel", self.kernel, ("gaussian", "rational"))
        for name, given in (("widths", self.widths), ("factors", self.factors)):
            if given is None and name == "widths":
                continue
            if not isinstance(given, list | tuple) or not given:
                raise ConfigError(f"{name}={given!r:.60} must be a list of positive numbers.")
            for k, one in enumerate(given):
                number(f"{name}[{k}]", one, above=0)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the unbiased estimate of MMD²."""
        x, y = drawn_beside(flow, batch)
        within, model, across = squared_distances(x, x), squared_distances(y, y), squared_distances(x, y)
        if self.widths is None:
            # Of the data alone: the distance that is minimised does not move with the flow.
            middle = _median(within.detach())
            squares = [(factor * factor) * middle for factor in self.factors]
        else:
            squares = [within.new_tensor(width * width) for width in self.widths]
        parts = [
            mean_apart(self._kernel(within / h))
            + mean_apart(self._kernel(model / h))
            - 2 * self._kernel(across / h).mean()
            for h in squares
        ]
        return torch.stack(parts).mean()

    def _kernel(self, ratio: Tensor) -> Tensor:
        return torch.exp(-ratio / 2) if self.kernel == "gaussian" else 1 / (1 + ratio / 2)


def _median(squares: Tensor) -> Tensor:
    """Return the median squared distance of different rows; 1 where most rows are one."""
    n = len(squares)
    above = squares[torch.triu_indices(n, n, 1, device=squares.device).unbind()]
    middle = above.median()
    return torch.where(middle > 0, middle, 1.0)
