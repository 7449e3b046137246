"""The classical members: a Gaussian, a mixture of Gaussians, a kernel density, in a view's coordinates.

Under a context c the columns are first regressed on it, u ≈ B c by least squares with a ridge, and what is
left is modelled: p(u | c) = p(u − B c). Each is a :class:`~diffeo.distributions.FullMixture`, and each choice
(how many components, how stiff, how wide) is made by held-out log-density.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.distributions import FullMixture
from diffeo.estimator.expectation import Normals, fit_normals

Array = NDArray[np.float64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

#: Numbers of components that are tried, as far as rows and time go.
COMPONENTS = (2, 4, 8, 16, 32, 64)

#: Rows of the prior that holds the common covariance towards its diagonal, as multiples of the columns.
RIDGES = (0.02, 0.3, 3.0, 30.0)

#: Rows that a kernel density stands on, and held-out rows that choose its width, at most.
CENTRES, JUDGES = 10_000, 1_000

#: Held-out rows that choose among mixtures, at most.
HELD = 20_000

#: The ridge of the regression on the context, in rows.
SHRINKAGE = 1.0


@dataclass(frozen=True)
class Rows:
    """Rows in a view's coordinates, with their context (rows, 0 where there is none)."""

    u: Tensor
    context: Tensor
    folds: Sequence[Fold]

    def slope(self, index: NDArray[np.int64] | slice) -> Tensor:
        """Return B, (columns, context features), of the rows at ``index``."""
        u, c = self.u[index], self.context[index]
        if not c.shape[1]:
            return u.new_zeros(u.shape[1], 0)
        c = c - c.mean(0)
        gram = c.T @ c + SHRINKAGE * torch.eye(c.shape[1], dtype=c.dtype)
        return torch.linalg.solve(gram, c.T @ (u - u.mean(0))).T

    def left(self, index: NDArray[np.int64] | slice, slope: Tensor) -> Tensor:
        """Return u − B c of the rows at ``index``."""
        return self.u[index] - self.context[index] @ slope.T

    def parts(self) -> list[tuple[Tensor, Tensor]]:
        """Return, of each fold, what is left of its training rows and of its held-out ones."""
        found: list[tuple[Tensor, Tensor]] = []
        for train, held in self.folds:
            slope = self.slope(train)
            found.append((self.left(train, slope), self.left(held, slope)))
        return found


@dataclass(frozen=True)
class Fitted:
    """A classical member: its base, its held-out log-densities in the order of the folds, and what it is."""

    base: FullMixture
    held: Array
    text: str


Fit = Callable[[Tensor], Normals]


def fit_gaussian(rows: Rows) -> tuple[Fitted, float]:
    """Return the Gaussian, and the ridge that its held-out rows chose."""
    parts = rows.parts()
    columns = rows.u.shape[1]
    best: tuple[float, float, Array] | None = None
    for ridge in (r * columns for r in RIDGES):
        held = _held(parts, _gaussian(ridge))
        if best is None or held.mean() > best[0]:
            best = float(held.mean()), ridge, held
    assert best is not None
    _, ridge, held = best
    return Fitted(_on_all(rows, _gaussian(ridge)), held, "1 normal"), ridge


def _gaussian(ridge: float) -> Fit:
    def fit(u: Tensor) -> Normals:
        return fit_normals(u, 1, strength=0.0, ridge=ridge)

    return fit


def fit_mixture(rows: Rows, ridge: float, seconds: float, seed: int) -> Fitted | None:
    """Return the mixture of two or more normals of largest held-out log-density.

    Numbers of components are doubled while that gains and there is time; then ν is halved or doubled. None
    where the rows are too few.
    """
    begun = time.perf_counter()
    columns, fewest = rows.u.shape[1], min(len(train) for train, _ in rows.folds)
    parts = [(train, held[:HELD]) for train, held in rows.parts()]
    best: tuple[float, int, float] | None = None
    worse = 0

    def left() -> float:
        return seconds - (time.perf_counter() - begun)

    def tried(components: int, strength: float) -> bool:
        nonlocal best
        share = max(0.05, left() / 3) / len(parts)
        found = _held(parts, _mixture(components, strength, ridge, seed, share))
        if best is None or found.mean() > best[0]:
            best = float(found.mean()), components, strength
            return True
        return False

    for components in COMPONENTS:
        if components > fewest // 8 or components * columns**2 > 4_000_000:
            break
        last = time.perf_counter()
        worse = 0 if tried(components, columns + 1.0) else worse + 1
        # The next has twice the components.
        if worse == 2 or left() < 3 * (time.perf_counter() - last):
            break
    if best is None:
        return None
    for factor in (0.2, 5.0, 25.0):
        if left() > 0.3 * seconds:
            tried(best[1], (columns + 1.0) * factor)
    _, components, strength = best
    final = _mixture(components, strength, ridge, seed, max(0.1, left()) / (len(parts) + 1))
    models = [final(train) for train, _ in parts]
    held = _concatenated(m.log_prob(h) for m, (_, h) in zip(models, rows.parts(), strict=True))
    base = _placed(rows, models[0]) if len(parts) == 1 else _on_all(rows, final)
    return Fitted(base, held, f"{components} normals")


def _mixture(components: int, strength: float, ridge: float, seed: int, seconds: float) -> Fit:
    def fit(u: Tensor) -> Normals:
        return fit_normals(u, components, strength=strength, ridge=ridge, seed=seed, seconds=seconds)

    return fit


def fit_kernel(rows: Rows, ridge: float, seed: int) -> Fitted:
    """Return the kernel density 1/n Σᵢ N(u; uᵢ, h² Σ̄), Σ̄ the covariance of the rows, h by held-out rows."""
    draws = np.random.default_rng(seed)
    whitened: list[tuple[Tensor, Tensor, float]] = []
    for train, held in rows.parts():
        factor = _gaussian(ridge)(train).factors()[0]
        some = train[_some(len(train), CENTRES, draws)]
        judges = held[_some(len(held), JUDGES, draws)]
        whitened.append((some @ factor.T, judges @ factor.T, float(factor.diagonal().log().sum())))
    squares = [torch.cdist(j, c).square() for c, j, _ in whitened]
    columns = rows.u.shape[1]

    def nats(log_width: float) -> float:
        total = [_kernel(s, log_width, columns).mean() for s in squares]
        return float(torch.stack(total).mean())

    scott = -np.log(len(whitened[0][0])) / (columns + 4)
    width = _highest(nats, scott - 1.5, scott + 1.5)
    held = []
    for (train, left), (centres, _, log_det) in zip(rows.parts(), whitened, strict=True):
        factor = _gaussian(ridge)(train).factors()[0]
        held.append(_kernel_rows(left @ factor.T, centres, width) + log_det)
    slope = rows.slope(slice(None))
    everything = rows.left(slice(None), slope)
    chosen = everything[_some(len(everything), CENTRES, draws)]
    factor = _gaussian(ridge)(everything).factors() * np.exp(-width)
    base = FullMixture(columns, len(chosen), rows.context.shape[1], shared=True).double()
    base.place(torch.ones(len(chosen)), chosen, factor, slope)
    return Fitted(base, np.concatenate(held), f"{len(chosen)} kernels of width {np.exp(width):.3g}")


def _kernel(squares: Tensor, log_width: float, columns: int) -> Tensor:
    """Return log 1/n Σᵢ N(·; ·, h²) in whitened coordinates, from squared distances (rows, n)."""
    constant = columns * (log_width + 0.5 * np.log(2 * np.pi)) + np.log(squares.shape[1])
    return torch.logsumexp(-0.5 * squares * np.exp(-2 * log_width), -1) - constant


def _kernel_rows(rows: Tensor, centres: Tensor, log_width: float) -> Array:
    size = max(16, 2**22 // len(centres))
    parts = [
        _kernel(torch.cdist(rows[start : start + size], centres).square(), log_width, rows.shape[1])
        for start in range(0, len(rows), size)
    ]
    return torch.cat(parts).numpy()


def _highest(function: Callable[[float], float], low: float, high: float, steps: int = 9) -> float:
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


def _held(parts: Sequence[tuple[Tensor, Tensor]], fit: Fit) -> Array:
    return _concatenated(fit(train).log_prob(held) for train, held in parts)


def _concatenated(found: object) -> Array:
    return np.concatenate([part.numpy() for part in found])  # type: ignore


def _on_all(rows: Rows, fit: Fit) -> FullMixture:
    """Return the base of a fit to all rows."""
    slope = rows.slope(slice(None))
    return _base(fit(rows.left(slice(None), slope)), slope)


def _placed(rows: Rows, model: Normals) -> FullMixture:
    """Return the base of a model of the one fold's training rows."""
    return _base(model, rows.slope(rows.folds[0][0]))


def _base(model: Normals, slope: Tensor) -> FullMixture:
    base = FullMixture(model.loc.shape[1], len(model.weights), slope.shape[1]).double()
    return base.place(model.weights, model.loc, model.factors(), slope)
