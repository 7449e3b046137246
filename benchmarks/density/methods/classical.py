"""The classical densities: a full Gaussian, a mixture by BIC, a kernel density by cross-validation.

Each is given the training and validation rows, having nothing to stop early.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from benchmarks.density.methods.method import Fitted
from benchmarks.density.protocol import Array
from diffeo.friends import Gaussian
from diffeo.friends.units import Units

#: Components and covariances of the mixtures, in the order in which they are tried while there is time.
MIXTURES = [(k, kind) for k in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) for kind in ("full", "diag")]

#: Bandwidths that are tried, in multiples of Scott's rule.
BANDWIDTHS = np.geomspace(0.05, 3, 25)

#: Most pairs of rows for which the kernel density is asked, so that scoring ends.
PAIRS = 2_000_000_000


def gaussian(train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Fit mean and covariance."""
    model = Gaussian().fit(np.concatenate([train, validation]))
    return Fitted(model.log_prob, model.describe())


def mixture(train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Fit scikit-learn's mixtures, larger and larger, and keep the one of lowest BIC.

    The next size is begun only if, at the cost of the last one of its kind and growing with the number of
    components, it will end in time.
    """
    begun = time.perf_counter()
    units = Units.of(train)
    rows = units.to_standard(np.concatenate([train, validation]))
    best, lowest, costs = None, np.inf, dict[str, float]()
    for k, kind in MIXTURES:
        now = time.perf_counter()
        expected = 1.5 * k * costs.get(kind, 0.0)
        if k > len(rows) // 2 or (best is not None and now - begun + expected > seconds):
            continue
        model = GaussianMixture(k, covariance_type=kind, random_state=seed, reg_covar=1e-6, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged: still a density, and BIC judges it as it is
            criterion = model.fit(rows).bic(rows)
        costs[kind] = (time.perf_counter() - now) / k
        if criterion < lowest:
            best, lowest = model, criterion
    assert best is not None

    def log_prob(x: Array) -> Array:
        return best.score_samples(units.to_standard(x)) + units.log_det

    return Fitted(log_prob, f"{best.n_components} components, {best.covariance_type}")


def kernel(train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Choose the bandwidth of Gaussian kernels by leaving one out, on as many rows as there is time for.

    p(x) = 1/n Σᵢ N(x; xᵢ, h²) in standardised columns, as in :class:`diffeo.friends.KernelDensity`, but by
    matrix products and within a clock.
    """
    begun = time.perf_counter()
    units = Units.of(train)
    rows = units.to_standard(np.concatenate([train, validation]))
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    n, d = rows.shape
    widths = BANDWIDTHS * n ** (-1 / (d + 4))
    totals, left, size = np.zeros(len(widths)), 0, max(1, min(256, 4_000_000 // n))
    for start in range(0, n, size):
        part = rows[start : start + size]
        squares = _squares(part, rows)
        squares[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        totals += [_log_mean(squares, h, d, n - 1).sum() for h in widths]
        left += len(part)
        if time.perf_counter() - begun > 0.9 * seconds:
            break
    chosen = widths[int(np.argmax(totals))]
    told = f"bandwidth {chosen:.3g}, of {len(widths)} tried on {left} rows left out one by one"

    def log_prob(x: Array) -> Array:
        points = units.to_standard(x)
        kept = rows[: max(1_000, PAIRS // len(points))]
        size = max(1, 20_000_000 // len(kept))
        return units.log_det + _each(
            points, size, lambda part: _log_mean(_squares(part, kept), chosen, d, len(kept))
        )

    return Fitted(log_prob, told)


def _each(points: Array, size: int, of: Callable[[Array], Array]) -> Array:
    return np.concatenate([of(points[k : k + size]) for k in range(0, len(points), size)])


def _squares(x: Array, y: Array) -> Array:
    """Return |xᵢ − yⱼ|²."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T
    return np.maximum(squares, 0.0)


def _log_mean(squares: Array, width: float, columns: int, count: int) -> Array:
    constant = np.log(count) + columns * (np.log(width) + 0.5 * np.log(2 * np.pi))
    return logsumexp(-0.5 / width**2 * squares, axis=1) - constant
