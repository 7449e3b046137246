"""Score matching: the flow's ∇ log p against the data's, without knowing the data's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import at_least, one_of
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.target import as_scored

#: Features up to which "auto" takes the exact trace: each is one more backward pass.
EXACT_UP_TO = 8


@dataclass(frozen=True)
class ScoreMatching(Objective):
    """L(θ) = E[½ ‖∇ₓ log p_θ(x)‖² + tr ∇ₓ² log p_θ(x)], in nats per squared unit of the data.

    Up to a constant it is ½ E‖∇ log p_θ − ∇ log p_D‖², Fisher's divergence, by integration by parts. That
    needs log p_θ whose gradient has no jumps: a network with kinks (ReLU) or a spline whose slope has them
    (linear, quadratic) leaves terms out; smooth activations and laws do not.

    The trace is taken feature by feature ("exact") or by Hutchinson's estimate vᵀ∇²log p v with signs v
    ("sliced"), unbiased.

    Source: Hyvärinen, *Estimation of non-normalized statistical models by score matching* (2005), equation
    4; Song, Garg, Shi & Ermon, *Sliced score matching* (2020), equation 8 (with reduced variance).

    Args:
        method: "exact", "sliced", or "auto": exact up to 8 features.
        probes: vectors v for each row, when sliced.

    Raises:
        ConfigError: an argument is out of its range.

    >>> from diffeo.flows import RealNVP
    >>> x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    >>> round(ScoreMatching().loss(RealNVP(2).eval(), Batch(x)).item(), 1)  # ½ E‖x‖² − 2
    -1.0
    """

    method: str = "auto"
    probes: int = 1

    unit: ClassVar[str] = "nats per squared unit of the data"

    def __post_init__(self) -> None:
        one_of("method", self.method, ("auto", "exact", "sliced"))
        at_least("probes", self.probes, 1)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the mean of ½ ‖score‖² + trace."""
        with torch.enable_grad(), as_scored(flow):
            x = batch.x.detach().requires_grad_()
            (score,) = torch.autograd.grad(flow(x, batch.context).sum(), x, create_graph=True)
            size = x[0].numel()
            exact = self.method == "exact" or (self.method == "auto" and size <= EXACT_UP_TO)
            trace = _exact(score, x) if exact else _sliced(score, x, self.probes)
            return (score.flatten(1).square().sum(-1) / 2 + trace).mean()


def _product(score: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """Return (∇² log p) v of each row, flat."""
    if not score.requires_grad:  # log p is linear in x
        return torch.zeros_like(x).flatten(1)
    (found,) = torch.autograd.grad(
        (score * v).sum(), x, create_graph=True, allow_unused=True, materialize_grads=True
    )
    return found.flatten(1)


def _exact(score: Tensor, x: Tensor) -> Tensor:
    total = x.new_zeros(len(x))
    unit = torch.eye(x[0].numel(), dtype=x.dtype, device=x.device)
    for k in range(len(unit)):
        v = unit[k].reshape(x.shape[1:]).expand_as(x)
        total = total + _product(score, x, v)[:, k]
    return total


def _sliced(score: Tensor, x: Tensor, probes: int) -> Tensor:
    total = x.new_zeros(len(x))
    for _ in range(probes):
        v = torch.randint_like(x, 2) * 2 - 1
        total = total + (_product(score, x, v) * v.flatten(1)).sum(-1) / probes
    return total
