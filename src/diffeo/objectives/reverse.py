"""Reverse Kullback–Leibler: variational inference of a density that is known up to a constant."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import at_least, one_of
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.schedules import Weight, check_weight, weight_at
from diffeo.objectives.target import (
    LogDensity,
    as_scored,
    check_differentiable,
    check_log_density,
    log_density_at,
    stopped,
    with_value,
)

ESTIMATORS = ("path", "reparametrised", "score")


@dataclass(frozen=True)
class ReverseKL(Objective):
    """L(θ) = (1/N) Σₙ log q_θ(xₙ) − β log p̃(xₙ), xₙ ~ q_θ, in nats: the negative of the evidence bound.

    With β = 1 its mean is KL(q_θ ‖ p) − log Z. It needs no data: of the batch it takes the context alone,
    and then draws for each row of it. It seeks modes: where p̃ is 0, q_θ must be; not the other way round.

    The gradient is estimated without bias in one of three ways:

    - "reparametrised": through x = f_θ(z), of everything. Source: Kingma & Welling, *Auto-encoding
      variational Bayes* (2014), section 2.4; for flows, Rezende & Mohamed (2015), equation 15.
    - "path": through x alone, the θ of log q_θ held. What is left out, E[∇_θ log q_θ(x)], is 0; so where
      q_θ = p every draw's gradient is exactly 0. It costs a pass from data to noise more. Source: Roeder,
      Wu & Duvenaud, *Sticking the landing* (2017), equation 6.
    - "score": E[(log q_θ − β log p̃) ∇_θ log q_θ], less the mean of the other draws. It needs no gradient of
      log p̃, and has the largest variance. Source: Ranganath, Gerrish & Blei, *Black box variational
      inference* (2014), equation 3; the baseline, Kool, van Hoof & Welling, *Buy 4 REINFORCE samples, get a
      baseline for free!* (2019), equation 8.

    Args:
        log_density: log p̃, of x ``(n, *event_shape)`` (and of the context), of shape (n,).
        draws: N, for each row of context.
        estimator: of the gradient.
        inverse_temperature: β, a number or a :class:`~diffeo.objectives.Ramp`. A rise to 1 lets the flow
            find modes that are far apart. Source: Rezende & Mohamed (2015), equation 20.

    Raises:
        ConfigError: an argument is out of its range; or, by ``loss``, draws or log p̃ carry no gradient.
        ShapeError, DtypeError: by ``loss``, log p̃ is not one number a row.

    >>> from diffeo.flows import RealNVP
    >>> def log_density(x):
    ...     return -x.square().sum(-1) / 2  # Z = 2π
    >>> ReverseKL(log_density).loss(RealNVP(2).eval(), Batch(torch.zeros(1, 2)))
    tensor(-1.8379, grad_fn=...)
    """

    log_density: LogDensity = field(repr=False)
    draws: int = 64
    estimator: str = "path"
    inverse_temperature: Weight = 1.0

    unit: ClassVar[str] = "nats"
    needs_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_log_density(self.log_density)
        one_of("estimator", self.estimator, ESTIMATORS)
        at_least("draws", self.draws, 2 if self.estimator == "score" else 1)
        check_weight("inverse_temperature", self.inverse_temperature)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return the mean of log q − β log p̃ over draws, with the gradient of the estimator."""
        with as_scored(flow):
            return self._loss(flow, batch)

    def _loss(self, flow: Flow, batch: Batch) -> Tensor:
        beta = weight_at(self.inverse_temperature, batch.progress)
        if self.estimator == "score":
            return self._scored(flow, batch.context, beta)
        shape, context = (self.draws,), batch.context
        if self.estimator == "path":
            x = flow.rsample(shape, context)
            log_q = stopped(flow)(x, context)
        else:
            x, log_q = flow.rsample_and_log_prob(shape, context)
        log_p = log_density_at(self.log_density, x, context, len(flow.event_shape))
        check_differentiable(flow, x, log_p)
        return (log_q - beta * log_p).mean()

    def _scored(self, flow: Flow, context: Tensor | None, beta: float) -> Tensor:
        x = flow.sample((self.draws,), context)
        log_q = flow(x, context)
        with torch.no_grad():
            log_p = log_density_at(self.log_density, x, context, len(flow.event_shape))
            cost = log_q - beta * log_p
            # cost less the mean of the others: (cost − mean of all) · n / (n − 1).
            centred = (cost - cost.mean(0)) * (self.draws / (self.draws - 1))
        return with_value(cost.mean(), (centred * log_q).mean())
