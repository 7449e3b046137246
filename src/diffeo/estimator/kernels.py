"""The kernel density: 1/n Σᵢ N(u; uᵢ, hᵢ² Σ̄) with Σ̄ the covariance of the rows and hᵢ = h (dᵢ / d̄)^β.

dᵢ is the distance from uᵢ to its k-th nearest row, in coordinates in which Σ̄ is the identity, and d̄ the
geometric mean of all of them: kernels are the wider the fewer rows are beside them. β = 0 gives all of them
one width. β and h are those of largest held-out log-density.

Source: Breiman, Meisel & Purcell, *Variable kernel estimates of multivariate densities* (1977).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from diffeo.distributions import FullMixture
from diffeo.estimator.classical import Fitted, Rows
from diffeo.estimator.expectation import Moments

#: Rows that a kernel density stands on, and held-out rows that choose its widths, at most.
CENTRES, JUDGES = 10_000, 1_000

#: A kernel density on fewer rows than this is not worth having where there are more.
FEWEST_CENTRES = 500

#: Golden sections that choose h for β = 0, and for each β after it, near the one before.
STEPS, FEWER_STEPS = 9, 6

#: The β that are tried, and the neighbour that a distance is taken to.
BENDS, NEIGHBOUR = (0.5, 1.0), 8

#: More columns than this have no neighbours to speak of, and trees do not find them.
NEAR = 6

#: The narrowest kernel, in units of the geometric mean of all: rows that are repeated have no distance.
NARROWEST = 1e-3


@dataclass(frozen=True)
class _Fold:
    """Centres and held-out rows in whitened coordinates, and what belongs to them.

    Attributes:
        centres: (n, D).
        held: (rows, D).
        log_det: of the whitening.
        log_ratio: log dᵢ / d̄ of each centre, (n,); zeros where neighbours are not asked for.
        squares: squared distances of some held-out rows from the centres, float32.
    """

    centres: Tensor
    held: Tensor
    log_det: float
    log_ratio: Tensor
    squares: Tensor


def fit_kernel(rows: Rows, ridge: float, seconds: float, seed: int) -> Fitted | None:
    """Return the kernel density whose β and h the held-out rows chose.

    Where there is little time it stands on fewer rows; None where these would be fewer than
    ``FEWEST_CENTRES``.
    """
    draws = np.random.default_rng(seed)
    residuals = rows.residuals()
    most = _centres_in(seconds, residuals)
    fewest = min(len(train) for train, _ in residuals)
    if most < min(fewest, FEWEST_CENTRES):
        return None
    folds = [_fold(train, held, ridge, most, draws) for train, held in residuals]
    bend, log_width = _chosen(folds, rows.columns)
    found = [_log_prob(f.held, f.centres, log_width + bend * f.log_ratio) + f.log_det for f in folds]
    everything, _ = rows.whole.residuals()
    chosen = everything[_some(len(everything), most, draws)]
    factor = Moments.of(everything).normal(ridge).factors()
    width, text = float(np.exp(log_width)), f"{len(chosen)} kernels of width {np.exp(log_width):.3g}"
    base = FullMixture(
        rows.columns, len(chosen), rows.whole.context.shape[1], shared=True, scaled=bend > 0
    ).double()
    scale = None
    if bend > 0:
        text += f", times their rows' distances to the power {bend:g}"
        scale = (bend * _log_ratio(chosen @ factor[0].T)).exp()
    base.place(torch.ones(len(chosen)), chosen, factor / width, rows.whole.slope(), scale)
    return Fitted(base, rows.in_data(found), text)


def _fold(train: Tensor, held: Tensor, ridge: float, most: int, draws: np.random.Generator) -> _Fold:
    factor = Moments.of(train).normal(ridge).factors()[0]
    centres, held = train[_some(len(train), most, draws)] @ factor.T, held @ factor.T
    # Float32 is enough to choose by, and takes half the time.
    squares = torch.cdist(held[_some(len(held), JUDGES, draws)], centres).square().float()
    ratio = _log_ratio(centres) if centres.shape[1] <= NEAR else centres.new_zeros(len(centres))
    return _Fold(centres, held, float(factor.diagonal().log().sum()), ratio, squares)


def _chosen(folds: Sequence[_Fold], columns: int) -> tuple[float, float]:
    """Return β and log h of largest log-density of the held-out rows that judge."""

    def nats(bend: float) -> Callable[[float], float]:
        wide = [(f.squares * (-2 * bend * f.log_ratio).exp().float(), f.log_ratio.float()) for f in folds]

        def of(log_width: float) -> float:
            found = [_mixed(s, log_width, -columns * (log_width + bend * r), columns) for s, r in wide]
            return float(torch.cat(found).mean())

        return of

    scott = -math.log(len(folds[0].centres)) / (columns + 4)
    best = 0.0, *_highest(nats(0.0), scott - 2.5, scott + 1.5, STEPS)
    if any(fold.log_ratio.any() for fold in folds):
        for bend in BENDS:
            low, high = best[1] - 1.0, best[1] + 1.0
            tried = bend, *_highest(nats(bend), low, high, FEWER_STEPS)
            if tried[2] <= best[2]:
                break
            best = tried
    return best[0], best[1]


def _log_ratio(centres: Tensor) -> Tensor:
    """Return log dᵢ / d̄ of centres in whitened coordinates."""
    rows = centres.numpy()
    distance, _ = KDTree(rows).query(rows, k=min(NEIGHBOUR, len(rows) - 1) + 1)  # itself is the first
    log_distance = torch.from_numpy(np.log(np.maximum(distance[:, -1], 1e-300)))
    ratio = log_distance - log_distance[log_distance > -600].mean()
    return torch.nan_to_num(ratio).clamp(min=math.log(NARROWEST))


def _centres_in(seconds: float, parts: Sequence[tuple[Tensor, Tensor]]) -> int:
    """Return on how many rows a kernel density can stand that is fitted in so many seconds, at most."""
    if seconds == math.inf:
        return CENTRES
    train, held = parts[0]
    few, some = held[:64], train[:2_000]
    begun = time.perf_counter()
    _log_prob(few, some, some.new_zeros(len(some)))
    pair = (time.perf_counter() - begun) / (len(few) * len(some))
    looks = STEPS + 3 + (len(BENDS) * (FEWER_STEPS + 3) if train.shape[1] <= NEAR else 0)
    needed = sum(looks * min(len(held), JUDGES) + len(held) for _, held in parts)
    return int(min(CENTRES, seconds / (pair * needed)))


def _mixed(squares: Tensor, log_width: float, log_det: Tensor, columns: int) -> Tensor:
    """Return log 1/n Σᵢ exp(−½ sᵢ / h²) · exp(log_detᵢ) / (2π)^(D/2), from scaled squared distances."""
    constant = 0.5 * columns * math.log(2 * math.pi) + math.log(squares.shape[1])
    return (
        torch.logsumexp(torch.add(log_det, squares, alpha=-0.5 * math.exp(-2 * log_width)), -1) - constant
    )


def _log_prob(rows: Tensor, centres: Tensor, log_widths: Tensor) -> Tensor:
    """Return log 1/n Σᵢ N(row; centreᵢ, hᵢ²) in whitened coordinates."""
    size, columns = max(16, 2**20 // len(centres)), centres.shape[1]
    own, log_det = (-2 * log_widths).exp(), -columns * log_widths
    parts = [
        _mixed(torch.cdist(part, centres).square().mul_(own), 0.0, log_det, columns)
        for part in rows.split(size)
    ]
    return torch.cat(parts)


def _highest(
    function: Callable[[float], float], low: float, high: float, steps: int
) -> tuple[float, float]:
    """Return where a function with one peak is highest, by golden sections, and its value there."""
    ratio = (math.sqrt(5) - 1) / 2
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
    return (a, at_a) if at_a > at_b else (b, at_b)


def _some(count: int, most: int, draws: np.random.Generator) -> NDArray[np.int64]:
    return np.arange(count) if count <= most else np.sort(draws.choice(count, most, replace=False))
