"""What a fit to a target returns: the flow, its importance weights, and what they say of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow
from diffeo.training.result import FitResult

#: Above this importance sampling's averages are not to be trusted. Source: Vehtari, Simpson, Gelman, Yao &
#: Gabry, *Pareto smoothed importance sampling* (2024), section 3.2.
TRUSTED_K = 0.7


@dataclass(frozen=True)
class TargetResult:
    """A flow q_θ fitted to p̃ = Z p, and what draws x ~ q_θ with weights w = p̃(x) / q_θ(x) say.

    Attributes:
        flow: q_θ, on the support.
        draws: x, in the order of the weights.
        log_weights: log w, float64.
        fits: the course of each restart.
        bounds: the evidence bound that each restart reached, in nats.
        best: the restart that was kept.

    >>> from diffeo.flows import RealNVP
    >>> log_weights = torch.zeros(4, dtype=torch.float64)
    >>> result = TargetResult(RealNVP(2), torch.zeros(4, 2), log_weights, (), (0.0,), 0)
    >>> result.effective_sample_size, result.log_evidence, result.log_evidence_error
    (4.0, 0.0, 0.0)
    """

    flow: Flow = field(repr=False)
    draws: Tensor = field(repr=False)
    log_weights: Tensor = field(repr=False)
    fits: tuple[FitResult, ...] = field(repr=False)
    bounds: tuple[float, ...]
    best: int

    @property
    def bound(self) -> float:
        """Return the evidence bound E_q log w = log Z − KL(q_θ ‖ p), in nats."""
        return float(self.log_weights.mean())

    @property
    def log_evidence(self) -> float:
        """Return log Z ≈ log (1/N) Σ w, in nats."""
        return float(torch.logsumexp(self.log_weights, 0)) - math.log(len(self.log_weights))

    @property
    def log_evidence_error(self) -> float:
        """Return the standard error of log Z: that of the mean of w, by its mean (the delta method).

        It is itself an estimate from the weights, and too small where ``pareto_k`` is large.
        """
        relative = (self.log_weights - self.log_evidence).exp()
        return float(relative.std()) / math.sqrt(len(relative))

    @property
    def weights(self) -> Tensor:
        """Return the weights, normalised to the sum 1."""
        return self.log_weights.softmax(0)

    @property
    def effective_sample_size(self) -> float:
        """Return 1 / Σ w², w normalised: how many draws of p itself the weighted draws are worth.

        Source: Kong, Liu & Wong, *Sequential imputations and Bayesian missing data problems* (1994).
        """
        return float(1 / self.weights.square().sum())

    @property
    def pareto_k(self) -> float:
        """Return k̂ of Pareto's law for the largest weights, by ArviZ; above 0.7 averages mislead.

        Source: Vehtari, Simpson, Gelman, Yao & Gabry, *Pareto smoothed importance sampling* (2024).

        Raises:
            ConfigError: ArviZ is not installed.
        """
        try:
            from arviz_stats.base import array_stats  # pyright: ignore
        except ImportError as error:
            raise ConfigError(
                "pareto_k needs the package arviz-stats, which is not installed; expected it: "
                "pip install 'diffeo[inference]'."
            ) from error
        # It takes log-likelihoods, whose importance ratios are their inverses; and no −∞.
        held = self.log_weights.clamp(min=float(self.log_weights.max()) - 700)
        _, k = array_stats.psislw(-held.cpu().numpy())  # pyright: ignore
        return float(k)  # pyright: ignore

    def expectation(self, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return E_p g(x) by importance sampling, and its standard error; g of shape ``(n, …)``.

        Source: Owen, *Monte Carlo theory, methods and examples* (2013), equations 9.6 and 9.9.

        Raises:
            ShapeError: g does not return a row for each draw.
        """
        value = function(self.draws)
        if value.ndim == 0 or len(value) != len(self.draws):
            raise ShapeError(
                f"function returned shape {tuple(value.shape)} for {len(self.draws)} draws; expected one "
                "row for each."
            )
        value = value.double()
        w = self.weights.reshape(-1, *(1 for _ in value.shape[1:]))
        mean = (w * value).sum(0)
        return mean, (w * (value - mean)).square().sum(0).sqrt()

    def __str__(self) -> str:
        n = len(self.log_weights)
        lines = [
            f"log evidence {self.log_evidence:.4f} ± {self.log_evidence_error:.4f} nats",
            f"  evidence bound {self.bound:.4f} nats",
            f"  {self.effective_sample_size:.0f} effective of {n} draws",
        ]
        try:
            k = self.pareto_k
        except ConfigError:
            pass
        else:
            told = "" if k <= TRUSTED_K else ": not to be trusted, the flow misses a tail of the target"
            lines.append(f"  Pareto k {k:.2f}{told}")
        if len(self.bounds) > 1:
            shown = ", ".join(f"{bound:.4f}" for bound in self.bounds)
            lines.append(f"  restarts reached {shown}; number {self.best} was kept")
        return "\n".join(lines)
