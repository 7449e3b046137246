"""Maximum likelihood, which is forward Kullback–Leibler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective


@dataclass(frozen=True)
class MaximumLikelihood(Objective):
    """L(θ) = −(1/N) Σₙ log p_θ(xₙ | cₙ), in nats per row.

    It estimates KL(p_D ‖ p_θ) + H(p_D): minimising it is minimising the forward divergence, and the
    entropy H(p_D) of the data is the least value that its expectation can take.

    Source: Papamakarios, Nalisnick, Rezende, Mohamed & Lakshminarayanan, *Normalizing flows for
    probabilistic modeling and inference* (2021), equations 13–14.

    >>> import torch
    >>> from diffeo.flows import RealNVP
    >>> MaximumLikelihood().loss(RealNVP(2).eval(), Batch(torch.zeros(4, 2)))  # log 2π
    tensor(1.8379, grad_fn=...)
    """

    unit: ClassVar[str] = "nats per row"
    first_order: ClassVar[bool] = True

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −mean log p(x | context)."""
        return -flow(batch.x, batch.context).mean()
