"""Gaussian noise on pixels: learnt with, and taken from samples again by the score that the flow has.

A flow of y = x + σ ε knows ∇ log p(y), and Tweedie's formula the mean of x given y:

    E[x | y] = y + σ² ∇_y log p(y).

Source: Zhai et al., *Normalizing flows are capable generative models* (2024), on noise augmented training
and score based denoising; Efron, *Tweedie's formula and selection bias* (2011), equation 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import number
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective


@dataclass(frozen=True)
class NoisyLikelihood(Objective):
    """L(θ) = −(1/N) Σₙ log p_θ(xₙ + σ εₙ | cₙ), in nats per row, with some contexts left out.

    A context that is left out is one of zeros: :func:`diffeo.images.guided` compares with it. Draws are of
    torch's generator, as dropout's are.

    Args:
        noise: σ, in the units of x (0.05 for pixels in [−1, 1], the authors' choice).
        drop: the probability that a row learns without its context.

    >>> from diffeo.images import TarFlow
    >>> flow = TarFlow((1, 4, 4), width=16, transforms=1, blocks=1, heads=2)
    >>> NoisyLikelihood().loss(flow, Batch(torch.zeros(5, 1, 4, 4))).shape
    torch.Size([])
    """

    noise: float = 0.05
    drop: float = 0.1

    unit: ClassVar[str] = "nats per row"

    def __post_init__(self) -> None:
        number("noise", self.noise, least=0)
        number("drop", self.drop, least=0, most=1)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −mean log p(x + σ ε | context)."""
        x = batch.x + self.noise * torch.randn_like(batch.x)
        return -flow(x, left_out(batch.context, self.drop)).mean()


def left_out(context: Tensor | None, drop: float) -> Tensor | None:
    """Return the contexts with zeros in the place of each with probability ``drop``."""
    if context is None or not drop:
        return context
    return torch.where(torch.rand_like(context[..., :1]) >= drop, context, 0.0)


def denoised(flow: Flow, y: Tensor, noise: float, context: Tensor | None = None) -> Tensor:
    """Return E[x | y] = y + σ² ∇ log p(y | context), without gradients: what a noisy sample is of.

    Args:
        flow: learnt on rows with the noise.
        y: rows with noise, as ``flow.sample`` draws them.
        noise: σ.
        context: of the rows.

    Raises:
        ConfigError: ``noise`` is negative.

    >>> from diffeo.distributions import StandardNormal
    >>> from diffeo.bijections import Identity
    >>> denoised(Flow(StandardNormal(2), Identity()), torch.ones(1, 2), noise=0.5)
    tensor([[0.7500, 0.7500]])
    """
    number("noise", noise, least=0)
    with torch.enable_grad():
        at = y.detach().clone().requires_grad_()
        (score,) = torch.autograd.grad(flow.log_prob(at, context).sum(), at)
    return y.detach() + noise**2 * score
