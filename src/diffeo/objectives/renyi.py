"""Rényi's α-divergences to a density that is known up to a constant, and the importance-weighted bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least, flag, number
from diffeo.flows import Flow
from diffeo.objectives.objective import Batch, Objective
from diffeo.objectives.target import (
    LogDensity,
    as_scored,
    check_differentiable,
    check_log_density,
    log_density_at,
    stopped,
    with_value,
)


@dataclass(frozen=True)
class Renyi(Objective):
    """±L_α, L_α = (1 − α)⁻¹ log (1/K) Σₖ wₖ^(1−α), w = p̃(x) / q_θ(x), x ~ q_θ, in nats.

    For many draws L_α is log Z − D_α(q_θ ‖ p), with Rényi's D_α = (α − 1)⁻¹ log E_q[(q/p)^(α−1)]. For
    0 ≤ α ≠ 1 it is a lower bound of log Z, and −L_α is made small; for α < 0 an upper one (χ² for α = −1),
    and L_α is made small. α = 1 is the limit, :class:`ReverseKL`. Small α cover p, large ones seek a mode.
    Amari's α-divergences are increasing functions of Rényi's, so have the same minimiser. The estimate of
    the bound is biased for few draws; the gradient is unbiased for the mean of the estimate.

    With v = w^(1−α) / Σ w^(1−α), the gradient of L_α through draws is Σₖ vₖ ∇ log wₖ. Doubly reparametrised
    it is Σₖ (α vₖ + (1 − α) vₖ²) ∂log wₖ/∂xₖ ∂xₖ/∂θ: the same mean, and 0 where q_θ = p.

    Source: Li & Turner, *Rényi divergence variational inference* (2016), equations 5 and 11; Dieng, Tran,
    Ranganath, Paisley & Blei, *Variational inference via χ upper bound minimization* (2017), equation 2 for
    α < 0; Tucker, Lawson, Gu & Maddison, *Doubly reparameterized gradient estimators* (2019), equation 9,
    from which the one above follows for any α.

    Args:
        log_density: log p̃, of x ``(n, *event_shape)`` (and of the context), of shape (n,).
        alpha: α ≠ 1.
        draws: K, for each row of context.
        doubly_reparametrised: which gradient.

    Raises:
        ConfigError: an argument is out of its range; or, by ``loss``, draws or log p̃ carry no gradient.
        ShapeError, DtypeError: by ``loss``, log p̃ is not one number a row.

    >>> from diffeo.flows import RealNVP
    >>> def log_density(x):
    ...     return -x.square().sum(-1) / 2  # Z = 2π
    >>> Renyi(log_density, alpha=0.5).loss(RealNVP(2).eval(), Batch(torch.zeros(1, 2)))
    tensor(-1.8379, grad_fn=...)
    """

    log_density: LogDensity = field(repr=False)
    alpha: float = 0.5
    draws: int = 64
    doubly_reparametrised: bool = True

    unit: ClassVar[str] = "nats"
    needs_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_log_density(self.log_density)
        number("alpha", self.alpha)
        if self.alpha == 1:
            raise ConfigError("alpha=1 is the limit that ReverseKL(log_density) computes; pass that.")
        at_least("draws", self.draws, 2)
        flag("doubly_reparametrised", self.doubly_reparametrised)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −L_α, or L_α for α < 0, the mean over rows of context."""
        log_w = log_weights(self.log_density, flow, (self.draws,), batch, self.doubly_reparametrised)
        bound = _bound(log_w, self.alpha, self.doubly_reparametrised)
        return bound.mean() * (1.0 if self.alpha < 0 else -1.0)


@dataclass(frozen=True)
class ImportanceWeighted(Objective):
    """−L_K, L_K = E log (1/K) Σₖ p̃(xₖ) / q_θ(xₖ), xₖ ~ q_θ, in nats: a bound of log Z that K tightens.

    L₁ is the evidence bound, and L_K rises to log Z with K. The gradient through draws is noise for many of
    them; doubly reparametrised, Σₖ vₖ² ∂log wₖ/∂xₖ ∂xₖ/∂θ with v the normalised weights, it is not.

    Source: Burda, Grosse & Salakhutdinov, *Importance weighted autoencoders* (2016), equation 8; Rainforth
    et al., *Tighter variational bounds are not necessarily better* (2018); Tucker, Lawson, Gu & Maddison,
    *Doubly reparameterized gradient estimators* (2019), equation 9.

    Args:
        log_density: log p̃, of x ``(n, *event_shape)`` (and of the context), of shape (n,).
        k: K, the draws in one logarithm.
        draws: logarithms that are averaged, for each row of context.
        doubly_reparametrised: which gradient.

    Raises:
        ConfigError: an argument is out of its range; or, by ``loss``, draws or log p̃ carry no gradient.
        ShapeError, DtypeError: by ``loss``, log p̃ is not one number a row.

    >>> from diffeo.flows import RealNVP
    >>> def log_density(x):
    ...     return -x.square().sum(-1) / 2  # Z = 2π
    >>> ImportanceWeighted(log_density, k=4).loss(RealNVP(2).eval(), Batch(torch.zeros(1, 2)))
    tensor(-1.8379, grad_fn=...)
    """

    log_density: LogDensity = field(repr=False)
    k: int = 8
    draws: int = 16
    doubly_reparametrised: bool = True

    unit: ClassVar[str] = "nats"
    needs_data: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_log_density(self.log_density)
        at_least("k", self.k, 1)
        at_least("draws", self.draws, 1)
        flag("doubly_reparametrised", self.doubly_reparametrised)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −L_K, the mean over its draws and over rows of context."""
        shape = (self.k, self.draws)
        log_w = log_weights(self.log_density, flow, shape, batch, self.doubly_reparametrised)
        return -_bound(log_w, 0.0, self.doubly_reparametrised).mean()


def log_weights(
    log_density: LogDensity, flow: Flow, shape: tuple[int, ...], batch: Batch, path: bool
) -> Tensor:
    """Return log p̃(x) − log q_θ(x) of draws; with ``path``, differentiable through x alone."""
    context = batch.context
    with as_scored(flow):
        if path:
            x = flow.rsample(shape, context)
            log_q = stopped(flow)(x, context)
        else:
            x, log_q = flow.rsample_and_log_prob(shape, context)
    log_p = log_density_at(log_density, x, context, len(flow.event_shape))
    check_differentiable(flow, x, log_p)
    return log_p - log_q


def _bound(log_w: Tensor, alpha: float, doubly: bool) -> Tensor:
    """Return L_α over the first dimension, with the gradient that was asked for."""
    scaled = (1 - alpha) * log_w
    value = (torch.logsumexp(scaled, 0) - math.log(len(log_w))) / (1 - alpha)
    if not doubly:
        return value
    v = scaled.detach().softmax(0)
    weight = alpha * v + (1 - alpha) * v.square()
    # A draw of weight 0 has log w = −∞, and no part in it.
    shown = torch.where(v > 0, log_w, 0.0)
    return with_value(value, (weight * shown).sum(0))
