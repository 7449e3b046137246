"""The classical members: a Gaussian, a mixture of Gaussians, a kernel density, in a view's coordinates.

Under a context c the columns are first regressed on it, u ≈ B c by least squares with a ridge, and what is
left is modelled: p(u | c) = p(u − B c). Each is a :class:`~diffeo.distributions.FullMixture`, and each
choice (how many components, how stiff, how wide) is made by held-out log-density.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.distributions import FullMixture
from diffeo.estimator.expectation import Moments, Normals, fit_normals

Array = NDArray[np.float64]

#: Numbers of components that are tried, as far as rows and time go: of few rows, and of many.
FEW, MANY = (2, 4, 8, 16, 32), (4, 16, 32, 64)

#: Rows from which numbers are those of many.
MANY_ROWS = 5_000

#: Steps of EM that choose, and those of the mixture that is kept.
CHOOSING, FINAL = 40, 200

#: Rows of the prior that holds the common covariance towards its diagonal, as multiples of the columns.
RIDGES = (0.02, 0.3, 3.0, 30.0)

#: Rows that a kernel density stands on, and held-out rows that choose its width, at most.
CENTRES, JUDGES = 10_000, 1_000

#: A kernel density on fewer rows than this is not worth having where there are more.
FEWEST_CENTRES = 500

#: Golden sections that choose the width.
STEPS = 9

#: Held-out rows that choose among mixtures, at most.
HELD = 20_000

#: The ridge of the regression on the context, in rows.
SHRINKAGE = 1.0


@dataclass(frozen=True)
class Part:
    """Training rows and held-out rows of a fold in its view; contexts of 0 features where there are none.

    Attributes:
        u, context: training rows.
        held, held_context: held-out rows.
        log_det: the view's log-determinant of the held-out rows.
    """

    u: Tensor
    context: Tensor
    held: Tensor
    held_context: Tensor
    log_det: Array

    def slope(self) -> Tensor:
        """Return B, (columns, context features), of the training rows."""
        u, c = self.u, self.context
        if not c.shape[1]:
            return u.new_zeros(u.shape[1], 0)
        c = c - c.mean(0)
        gram = c.T @ c + SHRINKAGE * torch.eye(c.shape[1], dtype=c.dtype)
        return torch.linalg.solve(gram, c.T @ (u - u.mean(0))).T

    def residuals(self) -> tuple[Tensor, Tensor]:
        """Return u − B c of the training rows and of the held-out ones."""
        slope = self.slope()
        return self.u - self.context @ slope.T, self.held - self.held_context @ slope.T


@dataclass(frozen=True)
class Rows:
    """The folds, and the rows that a member is fitted to in the end: those of the one fold, or all rows."""

    parts: Sequence[Part]
    whole: Part

    @property
    def columns(self) -> int:
        """Return D."""
        return self.whole.u.shape[1]

    def residuals(self) -> list[tuple[Tensor, Tensor]]:
        """Return what the context leaves of each fold's training rows and held-out rows."""
        return [part.residuals() for part in self.parts]

    def in_data(self, held: Sequence[Tensor]) -> Array:
        """Return log-densities of the held-out rows of all folds, in the data's units."""
        found = [h.numpy() + p.log_det for h, p in zip(held, self.parts, strict=True)]
        return np.concatenate(found)


@dataclass(frozen=True)
class Fitted:
    """A classical member: its base, its held-out log-densities in the order of the folds, its name."""

    base: FullMixture
    held: Array
    text: str


Fit = Callable[[Tensor], Normals]


def fit_gaussian(rows: Rows) -> tuple[Fitted, float]:
    """Return the Gaussian, and the ridge that its held-out rows chose."""
    parts = [(Moments.of(train), held) for train, held in rows.residuals()]
    best: tuple[float, float, Array] | None = None
    for ridge in (r * rows.columns for r in RIDGES):
        held = rows.in_data([moments.normal(ridge).log_prob(left) for moments, left in parts])
        if best is None or held.mean() > best[0]:
            best = float(held.mean()), ridge, held
    assert best is not None
    _, ridge, held = best
    whole = parts[0][0] if len(parts) == 1 else Moments.of(rows.whole.residuals()[0])
    return Fitted(_base(whole.normal(ridge), rows.whole.slope()), held, "1 normal"), ridge


def fit_mixture(rows: Rows, ridge: float, seconds: float, seed: int) -> Fitted | None:
    """Return the mixture of two or more normals of largest held-out log-density.

    Numbers of components are doubled while that gains and there is time; then ν is halved or doubled. None
    where the rows are too few.
    """
    begun = time.perf_counter()
    residuals, columns = rows.residuals(), rows.columns
    fewest = min(len(train) for train, _ in residuals)
    parts = [(train, held[:HELD]) for train, held in residuals]
    best: tuple[float, int, float] | None = None
    worse = 0

    def left() -> float:
        return seconds - (time.perf_counter() - begun)

    def tried(components: int, strength: float) -> bool:
        nonlocal best
        share = max(0.05, left() / 3) / len(parts)
        found = torch.cat(_held(parts, _mixture(components, strength, ridge, seed, share, CHOOSING)))
        if best is None or float(found.mean()) > best[0]:
            best = float(found.mean()), components, strength
            return True
        return False

    for components in FEW if fewest < MANY_ROWS else MANY:
        if components > fewest // 8 or components * columns**2 > 4_000_000:
            break
        last = time.perf_counter()
        worse = 0 if tried(components, columns + 1.0) else worse + 1
        # The next has twice the components or more, and what is chosen is fitted again.
        if worse == 2 or left() < 5 * (time.perf_counter() - last):
            break
    if best is None:
        return None
    for factor in (0.2, 5.0, 25.0):
        if left() > 0.5 * seconds:
            tried(best[1], (columns + 1.0) * factor)
    _, components, strength = best
    final = _mixture(components, strength, ridge, seed, max(0.1, left()) / (len(parts) + 1), FINAL)
    models = [final(train) for train, _ in residuals]
    held = [model.log_prob(left) for model, (_, left) in zip(models, residuals, strict=True)]
    base = _base(models[0], rows.whole.slope()) if len(parts) == 1 else _on_whole(rows, final)
    return Fitted(base, rows.in_data(held), f"{components} normals")


def _mixture(components: int, strength: float, ridge: float, seed: int, seconds: float, steps: int) -> Fit:
    def fit(u: Tensor) -> Normals:
        return fit_normals(
            u, components, strength=strength, ridge=ridge, seed=seed, seconds=seconds, steps=steps
        )

    return fit


def fit_kernel(rows: Rows, ridge: float, seconds: float, seed: int) -> Fitted | None:
    """Return the kernel density 1/n Σᵢ N(u; uᵢ, h² Σ̄), Σ̄ the covariance of the rows, h by held-out rows.

    Where there is little time it stands on fewer rows; None where these would be fewer than
    ``FEWEST_CENTRES``.
    """
    draws, columns = np.random.default_rng(seed), rows.columns
    residuals = rows.residuals()
    most = _centres_in(seconds, residuals)
    fewest = min(len(train) for train, _ in residuals)
    if most < min(fewest, FEWEST_CENTRES):
        return None
    whitened: list[tuple[Tensor, Tensor, float]] = []
    for train, held in residuals:
        factor = Moments.of(train).normal(ridge).factors()[0]
        centres = train[_some(len(train), most, draws)] @ factor.T
        whitened.append((centres, held @ factor.T, float(factor.diagonal().log().sum())))
    # Float32 is enough to choose by, and takes half the time.
    squares = [
        torch.cdist(held[_some(len(held), JUDGES, draws)], centres).square().float()
        for centres, held, _ in whitened
    ]

    def nats(log_width: float) -> float:
        return float(torch.cat([_kernel(s, log_width, columns) for s in squares]).mean())

    scott = -float(np.log(len(whitened[0][0]))) / (columns + 4)
    width = _highest(nats, scott - 1.5, scott + 1.5)
    found = [_kernel_rows(held, centres, width) + log_det for centres, held, log_det in whitened]
    everything, _ = rows.whole.residuals()
    chosen = everything[_some(len(everything), most, draws)]
    factor = Moments.of(everything).normal(ridge).factors() * float(np.exp(-width))
    base = FullMixture(columns, len(chosen), rows.whole.context.shape[1], shared=True).double()
    base.place(torch.ones(len(chosen)), chosen, factor, rows.whole.slope())
    return Fitted(base, rows.in_data(found), f"{len(chosen)} kernels of width {np.exp(width):.3g}")


def _centres_in(seconds: float, parts: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Return on how many rows a kernel density can stand that is fitted in so many seconds, at most."""
    if seconds == math.inf:
        return CENTRES
    train, held = parts[0]
    few, some = held[:64], train[:2_000]
    begun = time.perf_counter()
    _kernel(torch.cdist(few, some).square(), 0.0, train.shape[1])
    pair = (time.perf_counter() - begun) / (len(few) * len(some))
    looks = sum((STEPS + 3) * min(len(held), JUDGES) + len(held) for _, held in parts)
    return int(min(CENTRES, seconds / (pair * looks)))


def _kernel(squares: Tensor, log_width: float, columns: int) -> Tensor:
    """Return log 1/n Σᵢ N(·; ·, h²) in whitened coordinates, from squared distances (rows, n)."""
    constant = columns * (log_width + 0.5 * np.log(2 * np.pi)) + np.log(squares.shape[1])
    return torch.logsumexp(-0.5 * squares * np.exp(-2 * log_width), -1) - constant


def _kernel_rows(rows: Tensor, centres: Tensor, log_width: float) -> Tensor:
    size = max(16, 2**22 // len(centres))
    parts = [
        _kernel(torch.cdist(rows[start : start + size], centres).square(), log_width, rows.shape[1])
        for start in range(0, len(rows), size)
    ]
    return torch.cat(parts)


def _highest(function: Callable[[float], float], low: float, high: float, steps: int = STEPS) -> float:
    """Return where a function with one peak is highest, by golden sections."""
    ratio = (np.sqrt(5) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = function(a), function(b)
    for _ in range(steps):
        if at_a > at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = function(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = function(b)
    return float(a if at_a > at_b else b)


def _some(count: int, most: int, draws: np.random.Generator) -> NDArray[np.int64]:
    return np.arange(count) if count <= most else np.sort(draws.choice(count, most, replace=False))


def _held(parts: Sequence[tuple[Tensor, Tensor]], fit: Fit) -> list[Tensor]:
    return [fit(train).log_prob(held) for train, held in parts]


def _on_whole(rows: Rows, fit: Fit) -> FullMixture:
    """Return the base of a fit to the rows that count in the end."""
    left, _ = rows.whole.residuals()
    return _base(fit(left), rows.whole.slope())


def _base(model: Normals, slope: Tensor) -> FullMixture:
    base = FullMixture(model.loc.shape[1], len(model.weights), slope.shape[1]).double()
    return base.place(model.weights, model.loc, model.factors(), slope)
