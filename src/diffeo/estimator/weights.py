"""The weights of a mixture of densities, by EM on held-out log-densities.

L(w) = Σₙ log Σₘ wₘ p_m(xₙ) is concave in w, so EM finds its one maximum: wₘ ← mean over n of wₘ p_m / Σ w
p. Where members are alike EM creeps, so two of its steps at a time are drawn out along their line, as
long as that gains. A Dirichlet prior of half a row for each member keeps a member that the held-out rows
never needed: a row to come may. No member can then cost more than −log of its weight, which is what makes
the mixture about as good as its best member at least.

Sources: Dempster, Laird & Rubin (1977); Varadhan & Roland, *Simple and globally convergent methods for
accelerating the convergence of any EM algorithm* (2008), scheme S3; Smyth & Wolpert, *Linearly combining
density estimators via stacking* (1999); the half row: Krichevsky & Trofimov, *The performance of universal
encoding* (1981).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError

Array = NDArray[np.float64]

#: Log-densities further below a row's best than this count as that far below: they carry no weight.
DEEPEST = 600.0


def mixture_weights(log_probs: Array, prior: float = 0.5, steps: int = 200) -> Array:
    """Return w, (members,), for held-out log-densities of shape (rows, members), after ``steps`` at most.

    NaN counts as density zero, and so does a row of which no member knows anything.

    >>> mixture_weights(np.log(np.array([[0.9, 0.1], [0.9, 0.1]])), prior=0.0).round(3).tolist()
    [1.0, 0.0]
    """
    if log_probs.ndim != 2 or log_probs.size == 0:
        raise DataError(
            f"log_probs has shape {log_probs.shape}; expected (rows, members) with at least one of each."
        )
    members = log_probs.shape[1]
    density = _densities(log_probs)
    weights = np.full(members, 1 / members)
    if not len(density):
        return weights
    for _ in range(steps):
        first = _em(weights, density, prior)
        second = _em(first, density, prior)
        change = first - weights
        bend = second - first - change
        if np.abs(second - first).max() < 1e-7 or not bend.any():
            return second
        length = np.linalg.norm(change) / np.linalg.norm(bend)
        drawn = weights + 2 * length * change + length**2 * bend
        gains = drawn.min() > 0 and _reached(drawn, density, prior) >= _reached(second, density, prior)
        weights = _em(drawn if gains else second, density, prior)
    return weights


def _em(weights: Array, density: Array, prior: float) -> Array:
    new = weights * (density.T @ (1 / (density @ weights))) + prior
    return new / new.sum()


def _reached(weights: Array, density: Array, prior: float) -> float:
    """Return what the steps make larger."""
    found = float(np.log(density @ weights).sum())
    return found + prior * float(np.log(weights).sum()) if prior else found


def _densities(log_probs: Array) -> Array:
    """Return densities in units of each row's largest, for rows that have one."""
    known = np.where(np.isnan(log_probs), -np.inf, log_probs)
    best = known.max(1)
    kept = np.isfinite(best)
    return np.exp(np.maximum(known[kept] - best[kept, None], -DEEPEST))


def mixed(log_probs: Array, weights: Array) -> Array:
    """Return log Σₘ wₘ p_m of each row; −∞ where every member says so, NaN where one says NaN."""
    with np.errstate(divide="ignore"):
        terms = log_probs + np.log(weights)
    best = terms.max(1)
    safe = np.where(np.isfinite(best), best, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.exp(terms - safe[:, None]).sum(1)) + safe


def pruned(log_probs: Array, always: NDArray[np.bool_], cost: float = 5e-4) -> NDArray[np.bool_]:
    """Return which members to keep, (members,) booleans: scores cost time, and some members add nothing.

    The least of them is left out as long as the held-out rows lose less than ``cost`` nats on average;
    ``always`` marks members that stay.
    """
    kept = np.ones(log_probs.shape[1], dtype=bool)
    whole = _mean(log_probs, mixture_weights(log_probs))
    for _ in range(log_probs.shape[1]):
        weights = mixture_weights(log_probs[:, kept])
        order = np.flatnonzero(kept)[np.argsort(weights)]
        for member in order:
            if always[member] or kept.sum() == 1:
                continue
            trial = kept.copy()
            trial[member] = False
            without = log_probs[:, trial]
            if _mean(without, mixture_weights(without)) > whole - cost:
                kept = trial
                break
        else:
            break
    return kept


def _mean(log_probs: Array, weights: Array) -> float:
    found = mixed(log_probs, weights)
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else -np.inf
