"""EM for normals with full covariances, held towards a common one: Σₖ = (nₖ Sₖ + ν Σ̄) / (nₖ + ν).

A component of few rows takes the shape Σ̄ that all have on average, one of many rows its own: ν = 0 is
the ordinary mixture, ν → ∞ that of one tied covariance. It is the mode under an inverse Wishart prior.
Where rows are many, sums over them are running averages over batches, so that the first pass over the
data already brings the components near (stepwise EM).

Sources: Dempster, Laird & Rubin (1977); Fraley & Raftery, *Bayesian regularization for normal mixture
estimation* (2007), for the prior; Cappé & Moulines, *On-line expectation–maximization* (2009), for the
steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

#: Rows of a step; fewer rows than this are all taken in each.
BATCH = 4_096

#: The smallest variance, in units of the columns' own.
FLOOR = 1e-6


@dataclass(frozen=True)
class Normals:
    """A mixture of K normals: weights (K,), locations (K, D), covariances (K, D, D); float64."""

    weights: Tensor
    loc: Tensor
    covariance: Tensor

    def factors(self) -> Tensor:
        """Return the lower triangular Aₖ with Σₖ = (AₖᵀAₖ)⁻¹."""
        lower = torch.linalg.cholesky(self.covariance)
        eye = torch.eye(lower.shape[-1], dtype=lower.dtype).expand_as(lower)
        return torch.linalg.solve_triangular(lower, eye, upper=False)

    def terms(self, rows: Tensor, factors: Tensor | None = None) -> Tensor:
        """Return log wₖ N(row; μₖ, Σₖ), shape (rows, K)."""
        a = self.factors() if factors is None else factors
        k, d = self.loc.shape
        log_det = a.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        offset = (a @ self.loc.unsqueeze(-1)).flatten()
        found = rows.new_empty(len(rows), k)
        size = max(64, 2**21 // (k * d))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            noise = (rows[part] @ a.flatten(0, 1).T - offset).unflatten(-1, (k, d))
            found[part] = -0.5 * noise.square().sum(-1)
        return found + self.weights.log() + log_det - 0.5 * d * math.log(2 * math.pi)

    def log_prob(self, rows: Tensor) -> Tensor:
        """Return log p of each row."""
        return self.terms(rows).logsumexp(-1)


@dataclass(frozen=True)
class Moments:
    """What one normal is made of: the means over rows of 1, u and u uᵀ, as sums of one component."""

    sums: tuple[Tensor, ...]
    count: int

    @classmethod
    def of(cls, rows: Tensor) -> Moments:
        """Return the moments of rows, (rows, D)."""
        return cls(_sums(rows, rows.new_ones(len(rows), 1)), len(rows))

    def normal(self, ridge: float) -> Normals:
        """Return the normal law, its covariance held towards its diagonal by ``ridge`` rows."""
        return _moved(self.sums, None, self.count, 0.0, ridge)


def fit_normals(
    rows: Tensor,
    components: int,
    *,
    strength: float,
    ridge: float = 1.0,
    seed: int = 0,
    seconds: float = math.inf,
    steps: int = 200,
    tolerance: float = 1e-4,
) -> Normals:
    """Return the mixture that EM finds from k-means++ centres.

    Args:
        rows: (rows, D), float64, of about unit scale.
        components: K.
        strength: ν, in rows.
        ridge: rows of the prior that holds Σ̄ towards its own diagonal.
        seed: of the centres and the batches.
        seconds: after which it stops where it is.
        steps: steps, at most.
        tolerance: the gain of the mean log-density, over five steps, below which it stops.
    """
    begun = time.perf_counter()
    draws = torch.Generator().manual_seed(seed)
    whole = len(rows) <= BATCH
    if components == 1:  # a formula
        return Moments.of(rows).normal(ridge)
    some = rows if whole else rows[torch.randint(len(rows), (BATCH,), generator=draws)]
    near = torch.cdist(some, _centres(some, components, draws)).argmin(-1)
    sums = _sums(some, torch.nn.functional.one_hot(near, components).to(rows.dtype))
    model = _moved(sums, None, len(rows), strength, ridge)
    last, recent = -math.inf, list[float]()
    for step in range(steps):
        some = rows if whole else rows[torch.randint(len(rows), (BATCH,), generator=draws)]
        terms = model.terms(some)
        log_prob = terms.logsumexp(-1, keepdim=True)
        new = _sums(some, (terms - log_prob).exp())
        share = 1.0 if whole else (step + 2) ** -0.6
        sums = tuple(torch.lerp(old, now, share) for old, now in zip(sums, new, strict=True))
        model = _moved(sums, model, len(rows), strength, ridge)
        recent.append(float(log_prob.mean()))
        if len(recent) == (5 if whole else 20):
            mean = sum(recent) / len(recent)
            if mean - last < tolerance * len(recent) * (1 if whole else 2):
                break
            last, recent = mean, []
        if time.perf_counter() - begun > seconds:
            break
    return model


def _sums(rows: Tensor, share: Tensor) -> tuple[Tensor, ...]:
    """Return the means over rows of r, r u and r u uᵀ."""
    count = len(rows)
    squares = torch.stack([(rows * share[:, k : k + 1]).T @ rows for k in range(share.shape[1])])
    return share.mean(0), share.T @ rows / count, squares / count


def _moved(
    sums: tuple[Tensor, ...], before: Normals | None, count: int, strength: float, ridge: float
) -> Normals:
    share, first, second = sums
    alive = share * count > 1e-6
    safe = torch.where(alive, share, 1.0)
    loc = first / safe.unsqueeze(-1)
    within = second - share[:, None, None] * loc.unsqueeze(-1) * loc.unsqueeze(-2)
    if before is not None:
        loc = torch.where(alive.unsqueeze(-1), loc, before.loc)
    common = within.sum(0)
    diagonal = torch.diag(common.diagonal().clamp(min=0))
    common = (count * common + ridge * diagonal) / (count + ridge)
    own = share[:, None, None] * count
    held = (count * within + strength * common) / (own + strength) if len(share) > 1 else common[None]
    eye = torch.eye(loc.shape[1], dtype=loc.dtype)
    scale = held.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-3)[:, None, None]
    held = 0.5 * (held + held.mT) + FLOOR * scale * eye
    return Normals((share + 1e-9) / (share + 1e-9).sum(), loc, held)


def _centres(rows: Tensor, components: int, draws: torch.Generator) -> Tensor:
    """Return centres by k-means++ and a few rounds of Lloyd's.

    Source: Arthur & Vassilvitskii, *k-means++: the advantages of careful seeding* (2007).
    """
    first = torch.randint(len(rows), (1,), generator=draws)
    centres = rows[first]
    apart = (rows - centres).square().sum(-1)
    for _ in range(components - 1):
        chosen = torch.multinomial(apart.clamp(min=1e-300), 1, generator=draws)
        centres = torch.cat([centres, rows[chosen]])
        apart = torch.minimum(apart, (rows - rows[chosen]).square().sum(-1))
    for _ in range(6):
        near = torch.nn.functional.one_hot(torch.cdist(rows, centres).argmin(-1), components).to(rows.dtype)
        count = near.sum(0).unsqueeze(-1)
        centres = torch.where(count > 0, near.T @ rows / count.clamp(min=1.0), centres)
    return centres
