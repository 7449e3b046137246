"""The classical members: a Gaussian and a mixture of Gaussians, in a view's coordinates.

Under a context c the columns are first regressed on it, u ≈ B c by least squares with a ridge, and what is
left is modelled: p(u | c) = p(u − B c). Each is a :class:`~diffeo.distributions.FullMixture`, and each
choice (how many components, how stiff) is made by held-out log-density. The third of them, the kernel
density, is in :mod:`diffeo.estimator.kernels`.
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
FEW, MANY = (2, 4, 8, 16, 32), (4, 16, 32, 64, 128, 256)

#: Components at most where no clock limits them.
MOST_COUNTED = 64

#: Rows from which numbers are those of many.
MANY_ROWS = 5_000

#: Steps of EM that choose, and those of the mixture that is kept.
CHOOSING, FINAL = 40, 200

#: Rows of the prior that holds the common covariance towards its diagonal, as multiples of the columns.
RIDGES = (0.02, 0.3, 3.0, 30.0)

#: What ν, D + 1 at first, is multiplied with again and again as long as that gains. Clusters much flatter
#: than all of them together bear little of the common shape.
LOOSER, STIFFER = (0.2, 0.2, 0.2), (5.0, 5.0)

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

    Numbers of components are doubled while that gains and there is time, and ν is moved up or down. None
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

    def moved(factors: Sequence[float]) -> None:
        """Try multiples of the best ν as long as they gain and more than half of the time is left."""
        assert best is not None
        for factor in factors:
            if left() < 0.5 * seconds or not tried(best[1], best[2] * factor):
                break

    strength = columns + 1.0
    most = MOST_COUNTED if math.isinf(seconds) else MANY[-1]
    for place, components in enumerate(FEW if fewest < MANY_ROWS else MANY):
        if components > min(fewest // 8, most) or components * columns**2 > 4_000_000:
            break
        last = time.perf_counter()
        worse = 0 if tried(components, strength) else worse + 1
        # The next has twice the components or more, and what is chosen is fitted again.
        if worse == 2 or left() < 5 * (time.perf_counter() - last):
            break
        if place == 1 and best is not None:  # while it costs little
            moved(LOOSER)
            strength = best[2]
    if best is None:
        return None
    before = best[2]
    moved(STIFFER)
    if best[2] == before:
        moved(LOOSER)
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


def _held(parts: Sequence[tuple[Tensor, Tensor]], fit: Fit) -> list[Tensor]:
    return [fit(train).log_prob(held) for train, held in parts]


def _on_whole(rows: Rows, fit: Fit) -> FullMixture:
    """Return the base of a fit to the rows that count in the end."""
    left, _ = rows.whole.residuals()
    return _base(fit(left), rows.whole.slope())


def _base(model: Normals, slope: Tensor) -> FullMixture:
    base = FullMixture(model.loc.shape[1], len(model.weights), slope.shape[1]).double()
    return base.place(model.weights, model.loc, model.factors(), slope)
