"""Filling in columns: draws from conditionals of Gaussian mixtures, weighted by the density.

In a view's coordinates u = (a, b), b known, a mixture of normals has p(a | b) = Σₖ wₖ(b) N(a; μₖ(b),
Σₖ(a|b)), with weights proportional to wₖ N(b; μₖᵇ, Σₖᵇᵇ), locations μₖᵃ + Σₖᵃᵇ Σₖᵇᵇ⁻¹ (b − μₖᵇ) and
covariances that do not depend on b. Views move each column by itself, so that in the units of the data
too p_m(x_b) = p_m(u_b) Π duⱼ/dxⱼ over b, and p_m(x_a | x_b) has the slopes over a. What is drawn from is

    q(x_a | x_b) = Σₘ sₘ(x_b) p_m(x_a | x_b),      sₘ(x_b) ∝ wₘ p_m(x_b),

over all members that are mixtures of normals: p(x_a | x_b) itself, where p has no others. A draw is
weighted by w = p(x) / q(x_a | x_b): the mean of w estimates p(x_b), and draws resampled by w are from
p(x_a | x_b).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.bijections import Bijection
from diffeo.distributions import FullMixture
from diffeo.estimator.views import seen_apart, shown

Array = NDArray[np.float64]

#: Known numbers are clamped here, in units of about a standard deviation.
_FAR = 1e3

#: What all members share evenly of the draws, whatever they hold of what is known, where p has others.
_FLOOR = 0.05


@dataclass(frozen=True)
class Proposal:
    """A member that is drawn from: its mixture of normals, the view it is in, and its weight in p."""

    base: FullMixture
    view: Bijection
    weight: float


class Conditional:
    """The law of some columns given the others under a mixture of normals, for rows that know the same.

    Args:
        base: the mixture.
        rows: rows in its coordinates, (rows, columns), from which B c was taken; unknown numbers are not
            read.
        pattern: which columns are known.

    Attributes:
        log_marginal: log p of the known columns of each row, (rows,).
    """

    def __init__(self, base: FullMixture, rows: Tensor, pattern: NDArray[np.bool_]) -> None:
        loc, factor = base.get_buffer("loc").double(), base.factors()
        b, a = torch.from_numpy(np.flatnonzero(pattern)), torch.from_numpy(np.flatnonzero(~pattern))
        precision = factor.mT @ factor
        # Given b, the precision of a is its block of the whole; the location moves by −P_aa⁻¹ P_ab (b − μ).
        self._lower = torch.linalg.cholesky(precision[:, a][:, :, a])
        gain = -torch.cholesky_solve(precision[:, a][:, :, b], self._lower)
        covariance = torch.cholesky_inverse(precision_lower(precision))
        marginal = torch.linalg.cholesky(covariance[:, b][:, :, b])
        left = rows[:, b].unsqueeze(1) - loc[:, b]  # rows, K, known
        noise = torch.linalg.solve_triangular(marginal, left.permute(1, 2, 0), upper=False)
        log_det = marginal.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        terms = base.get_buffer("log_weight").double() - 0.5 * noise.square().sum(1).T - log_det
        self.log_marginal = terms.logsumexp(-1) - 0.5 * len(b) * math.log(2 * math.pi)
        self._share = terms.log_softmax(-1)
        self._centre = loc[:, a] + (gain @ left.unsqueeze(-1)).squeeze(-1)  # rows, K, unknown

    def draw(self, row: Tensor, generator: torch.Generator) -> Tensor:
        """Return the unknown columns drawn, (draws, unknown): one for each entry of ``row``."""
        chosen = torch.multinomial(self._share[row].exp(), 1, replacement=True, generator=generator)[:, 0]
        white = torch.randn(len(row), self._centre.shape[-1], generator=generator, dtype=torch.float64)
        own = self._lower[chosen if len(self._lower) > 1 else 0]
        spread = torch.linalg.solve_triangular(own.mT, white.unsqueeze(-1), upper=True).squeeze(-1)
        return self._centre[row, chosen] + spread

    def log_prob(self, row: Tensor, drawn: Tensor) -> Tensor:
        """Return log p of unknown columns (draws, unknown), given the known ones of row ``row`` each."""
        apart = drawn.unsqueeze(1) - self._centre[row]  # draws, K, unknown
        scaled = (self._lower.mT @ apart.unsqueeze(-1)).squeeze(-1)
        half = self._lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * drawn.shape[-1] * math.log(2 * math.pi)
        terms = self._share[row] - 0.5 * scaled.square().sum(-1) + half - constant
        return torch.logsumexp(terms, -1)


def proposed(
    members: Sequence[Proposal],
    x: Array,
    known: NDArray[np.bool_],
    context: Tensor | None,
    draws: int,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """Return x with unknown numbers drawn, (rows, draws, columns), and log q of them, (rows, draws).

    Args:
        members: what is drawn from; their weights are of sum 1 where p has no others.
        x: rows; unknown numbers are not read.
        known: which are known, of the shape of ``x``.
        context: contexts as the bases read them.
        draws: for each row.
        generator: of the draws.
    """
    filled = np.repeat(x[:, None, :], draws, 1)
    log_q = np.zeros((len(x), draws))
    patterns, place = np.unique(known, axis=0, return_inverse=True)
    place = place.reshape(-1)
    for k, pattern in enumerate(patterns):
        if pattern.all():
            continue
        index = np.flatnonzero(place == k)
        own = None if context is None else context[torch.from_numpy(index)]
        drawn, log_density = _drawn(members, x[index], pattern, own, draws, generator)
        filled[index] = drawn.reshape(len(index), draws, -1)
        log_q[index] = log_density.reshape(len(index), draws)
    return filled, log_q


def _drawn(
    members: Sequence[Proposal],
    x: Array,
    pattern: NDArray[np.bool_],
    context: Tensor | None,
    draws: int,
    generator: torch.Generator,
) -> tuple[Array, Array]:
    """Return draws for rows that know the same columns, (rows · draws, columns), and log q of each."""
    unknown, laws, held = np.flatnonzero(~pattern), list[Conditional](), list[Tensor]()
    shifts = [_shift(member.base, context, len(x)) for member in members]
    views = Views(members, np.where(pattern, x, np.nan))
    for member, shift in zip(members, shifts, strict=True):
        u, slopes = views.of(member)
        # A proposal may be any law: of numbers so far out that their squares overflow it sees the edge.
        near = torch.from_numpy(np.clip(np.where(pattern, np.nan_to_num(u), 0.0), -_FAR, _FAR))
        laws.append(Conditional(member.base, near - shift, pattern))
        slope = torch.from_numpy(np.where(pattern, slopes, 0.0).sum(-1))
        held.append(math.log(member.weight) + laws[-1].log_marginal + slope)
    shares = _shares(torch.stack(held, -1), sum(member.weight for member in members))
    chosen = torch.multinomial(shares, draws, replacement=True, generator=generator).flatten()
    row = torch.arange(len(x)).repeat_interleave(draws)
    filled = np.repeat(x, draws, 0)
    for m, (member, law) in enumerate(zip(members, laws, strict=True)):
        at = (chosen == m).nonzero().flatten()
        u = np.zeros((len(at), x.shape[1]))
        u[:, unknown] = (law.draw(row[at], generator) + shifts[m][row[at]][:, unknown]).numpy()
        filled[np.ix_(at.numpy(), unknown)] = shown(member.view, u)[:, unknown]
    terms, views = list[Tensor](), Views(members, np.where(pattern, np.nan, filled))
    for m, (member, law) in enumerate(zip(members, laws, strict=True)):
        u, slopes = (torch.from_numpy(each[:, unknown]) for each in views.of(member))
        inner = law.log_prob(row, u - shifts[m][row][:, unknown]) + slopes.sum(-1)
        terms.append(shares[row, m].log() + inner)
    return filled, torch.logsumexp(torch.stack(terms, -1), -1).numpy()


class Views:
    """Rows in the views of members, each computed once: u and slopes, NaN where the rows are."""

    def __init__(self, members: Sequence[Proposal], x: Array) -> None:
        views = {id(member.view): member.view for member in members}
        self._found = {key: seen_apart(view, x) for key, view in views.items()}

    def of(self, member: Proposal) -> tuple[Array, Array]:
        """Return u and log du/dx in the view of a member."""
        return self._found[id(member.view)]


def _shares(held: Tensor, covered: float) -> Tensor:
    """Return sₘ of each row, given log wₘ p_m(x_b), (rows, members).

    Where the members are not all of p (their weights sum to less than 1) each has part of a floor.
    """
    held = held.nan_to_num(nan=-math.inf, neginf=-math.inf)
    # What no member holds possible is drawn from all.
    held = torch.where(held.isneginf().all(-1, keepdim=True), 0.0, held)
    floor = _FLOOR if covered < 1 - 1e-9 else 0.0
    return (1 - floor) * held.softmax(-1) + floor / held.shape[-1]


def _shift(base: FullMixture, context: Tensor | None, rows: int) -> Tensor:
    """Return B c of each row."""
    slope = base.get_buffer("slope").double()
    return torch.zeros(rows, len(slope), dtype=torch.float64) if context is None else context @ slope.T


def precision_lower(precision: Tensor) -> Tensor:
    """Return the Cholesky factor of symmetric matrices."""
    return torch.linalg.cholesky(0.5 * (precision + precision.mT))
