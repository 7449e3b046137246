"""Filling in columns: draws from conditionals of a Gaussian mixture, weighted by the density.

In a view's coordinates u = (a, b), b known, a mixture of normals has p(a | b) = Σₖ wₖ(b) N(a; μₖ(b),
Σₖ(a|b)), with weights proportional to wₖ N(b; μₖᵇ, Σₖᵇᵇ), locations μₖᵃ + Σₖᵃᵇ Σₖᵇᵇ⁻¹ (b − μₖᵇ) and
covariances that do not depend on b. A draw is weighted by w = p(x) / q(x_a | x_b): the mean of w
estimates p(x_b), and draws resampled by w are from p(x_a | x_b).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.distributions import FullMixture

Array = NDArray[np.float64]

#: Known numbers are clamped here, in units of about a standard deviation.
_FAR = 1e3


def proposals(
    base: FullMixture,
    u: Array,
    known: NDArray[np.bool_],
    context: Tensor | None,
    draws: int,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """Return u with unknown numbers drawn, (rows, draws, columns), and log q of them, (rows, draws).

    Args:
        base: the mixture.
        u: rows in its coordinates; unknown numbers are not read.
        known: which are known, of the shape of ``u``.
        context: contexts as the base reads them.
        draws: for each row.
        generator: of the draws.
    """
    filled = np.repeat(np.where(known, u, 0.0)[:, None, :], draws, 1)
    log_q = np.zeros((len(u), draws))
    patterns, place = np.unique(known, axis=0, return_inverse=True)
    place = place.reshape(-1)
    shift = _shift(base, context, len(u))
    for k, pattern in enumerate(patterns):
        if pattern.all():
            continue
        index = np.flatnonzero(place == k)
        # A proposal may be any law: of numbers so far out that their squares overflow it sees the edge.
        near = np.clip(np.where(pattern, u[index], 0.0), -_FAR, _FAR)
        rows = torch.from_numpy(near) - shift[index]
        drawn, log_density = _drawn(base, rows, pattern, draws, generator)
        drawn = drawn + shift[index][:, None, torch.from_numpy(~pattern)]
        filled[np.ix_(index, np.arange(draws), np.flatnonzero(~pattern))] = drawn.numpy()
        log_q[index] = log_density.numpy()
    return filled, log_q


def _shift(base: FullMixture, context: Tensor | None, rows: int) -> Tensor:
    """Return B c of each row."""
    slope = base.get_buffer("slope").double()
    return torch.zeros(rows, len(slope), dtype=torch.float64) if context is None else context @ slope.T


def _drawn(
    base: FullMixture, rows: Tensor, pattern: NDArray[np.bool_], draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return draws of the unknown columns given the known ones, and their log-densities."""
    loc, factor = base.get_buffer("loc").double(), base.factors()
    b, a = torch.from_numpy(np.flatnonzero(pattern)), torch.from_numpy(np.flatnonzero(~pattern))
    precision = factor.mT @ factor
    # Given b, the precision of a is its block of the whole; the location moves by −P_aa⁻¹ P_ab (b − μ_b).
    blocks = precision[:, a][:, :, a]
    cross = precision[:, a][:, :, b]
    lower = torch.linalg.cholesky(blocks)
    gain = -torch.cholesky_solve(cross, lower)
    covariance = torch.cholesky_inverse(precision_lower(precision))
    marginal = torch.linalg.cholesky(covariance[:, b][:, :, b])
    log_weight = base.get_buffer("log_weight").double()
    left = rows[:, b].unsqueeze(1) - loc[:, b]  # rows, K, known
    noise = torch.linalg.solve_triangular(marginal, left.permute(1, 2, 0), upper=False)
    log_det = marginal.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    share = log_weight - 0.5 * noise.square().sum(1).T - log_det
    share = share.log_softmax(-1)
    centre = loc[:, a] + (gain @ left.unsqueeze(-1)).squeeze(-1)  # rows, K, unknown
    chosen = torch.multinomial(share.exp(), draws, replacement=True, generator=generator)
    white = torch.randn(len(rows), draws, len(a), generator=generator, dtype=torch.float64)
    own = lower[chosen] if len(lower) > 1 else lower.expand(len(rows), draws, -1, -1)
    spread = torch.linalg.solve_triangular(own.mT, white.unsqueeze(-1), upper=True).squeeze(-1)
    drawn = torch.gather(centre, 1, chosen.unsqueeze(-1).expand(-1, -1, len(a))) + spread
    apart = drawn.unsqueeze(2) - centre.unsqueeze(1)  # rows, draws, K, unknown
    scaled = (lower.mT @ apart.unsqueeze(-1)).squeeze(-1)
    half = lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = 0.5 * len(a) * math.log(2 * math.pi)
    log_q = torch.logsumexp(share.unsqueeze(1) - 0.5 * scaled.square().sum(-1) + half - constant, -1)
    return drawn, log_q


def precision_lower(precision: Tensor) -> Tensor:
    """Return the Cholesky factor of symmetric matrices."""
    return torch.linalg.cholesky(0.5 * (precision + precision.mT))
