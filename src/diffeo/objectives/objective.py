"""What an objective is: a scalar that is small when the flow is close to the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffeo.flows import Flow


@dataclass(frozen=True)
class Batch:
    """Rows that one step learns from.

    Attributes:
        x: shape ``(rows, *event_shape)``.
        context: shape ``(rows, context_features)``, or None for a flow without context.
        progress: how much of the run is over, from 0 to 1; what is annealed follows it.
    """

    x: Tensor
    context: Tensor | None = None
    progress: float = 1.0


class Objective(ABC):
    """A distance or divergence dist(p_D, p_θ), up to what does not depend on θ.

    Attributes:
        unit: the unit of the loss, as a person reads it.
        evaluations_apart: the fewest steps between looks at held-out rows that :func:`diffeo.fit` plans,
            where a look costs much more than a step.
        first_order: whether the loss is differentiated once, by the backward pass of a step alone, and
            through no transform of ``torch.func``: :func:`diffeo.fit` may then take the compiled kernels,
            which know no more.
        needs_data: whether the loss reads ``batch.x``.
        resumable: whether a run with it can go on from a checkpoint: it has no state of its own.

    >>> import torch
    >>> class Squared(Objective):
    ...     unit = "squared nats per row"
    ...     def loss(self, flow, batch):
    ...         return flow(batch.x, batch.context).square().mean()
    >>> from diffeo.flows import RealNVP
    >>> Squared().loss(RealNVP(2).eval(), Batch(torch.zeros(4, 2)))
    tensor(3.3778, grad_fn=...)
    """

    unit: ClassVar[str] = "nats per row"
    evaluations_apart: ClassVar[int] = 25
    first_order: ClassVar[bool] = False
    needs_data: ClassVar[bool] = True
    resumable: ClassVar[bool] = True

    def begun(self) -> Objective:
        """Return the objective that one run uses: itself, or with state of its own a copy without any."""
        return self

    @abstractmethod
    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the scalar to minimise, differentiable in the flow's parameters."""
