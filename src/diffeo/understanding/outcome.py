"""Does the outcome differ between groups where everything else is alike?

The gap is E[y | x, a] − E[y | x, b], averaged over the x of all rows. It is estimated doubly robustly,

    ψ_g = m_g(x) + 1{group = g} / e_g(x) · (y − m_g(x)),     gap = mean of ψ_a − ψ_b,

m_g(x) = E[y | x, g] from the exact p(y | x, group) and e_g(x) = P(g | x) by Bayes' rule from the exact
p(x | group), both learned on other rows: the gap is right if either density is.

Source: Robins, Rotnitzky & Zhao (1994); Chernozhukov et al., *Double/debiased machine learning* (2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import mean_interval
from diffeo.tables.variable import Encoded, numbers_of
from diffeo.understanding.given_group import GivenGroup
from diffeo.understanding.groups import Groups
from diffeo.understanding.subject import cell_text

Array = NDArray[np.float64]

#: The least P(g | x) that is divided by; rows below are counted.
_LEAST = 0.02

#: Draws of a numeric outcome for each row and group.
_DRAWS = 16


@dataclass(frozen=True)
class Gap:
    """How an outcome differs between a group and the largest one.

    Attributes:
        group: the group.
        against: the group it is compared with.
        outcome: what is compared: "column" (its mean) or "column = level" (its probability).
        raw: the difference of the means, everything else differing too.
        raw_low: of its 95 % interval.
        raw_high: as ``raw_low``.
        gap: the difference that is left where the other columns are alike.
        low: of its 95 % interval.
        high: as ``low``.
        p: of no such difference; NaN for groups too small for a verdict.
        rows: test rows of both groups.
        uncomparable: the share of these that has next to no counterpart in the other group: there the gap
            is what the model supposes.
    """

    group: str
    against: str
    outcome: str
    raw: float
    raw_low: float
    raw_high: float
    gap: float
    low: float
    high: float
    p: float
    rows: int
    uncomparable: float


def gaps(groups: Groups, of_outcome: GivenGroup, log_p: Array, seed: int) -> list[Gap]:
    """Return how the outcome differs between each group and the largest one, on the test rows.

    Args:
        groups: the rows.
        of_outcome: p(outcome | group, the other columns).
        log_p: log p(the other columns | group) of the test rows.
        seed: of draws.
    """
    column = groups.outcome
    variable = groups.variables[column]
    rows, member = groups.rows.rows(groups.test), groups.member[groups.test]
    share = np.array(groups.sizes) / len(groups.member)
    log_e = log_p + np.log(share)
    e = np.exp(log_e - np.logaddexp.reduce(log_e, axis=1, keepdims=True))
    targets: list[tuple[str, Array, list[Array]]] = []
    state = rows.state[:, column]
    if variable.numeric:
        y = numbers_of(variable, state, rows.value[:, column])
        mean = [_mean(of_outcome, rows, k, seed) for k in range(len(groups.labels))]
        targets.append((variable.name, y, mean))
    else:
        present = [s for s in range(variable.states) if (groups.rows.state[:, column] == s).any()]
        each = [_levels(of_outcome, rows, k, variable.states) for k in range(len(groups.labels))]
        for s in present[1:] if len(present) == 2 else present:
            name = f"{variable.name} = {cell_text(groups.schema, column, s, np.nan)}"
            targets.append((name, (state == s).astype(np.float64), [p[:, s] for p in each]))
    return [
        _gap(groups, name, y, mean, e, member, k)
        for k in range(1, len(groups.labels))
        for name, y, mean in targets
    ]


def _gap(
    groups: Groups, name: str, y: Array, mean: list[Array], e: Array, member: NDArray[np.int64], k: int
) -> Gap:
    known = np.isfinite(y) & np.isfinite(mean[k]) & np.isfinite(mean[0])
    y, e, member = y[known], e[known], member[known]
    terms = list[Array]()
    for g in (k, 0):
        m = mean[g][known]
        terms.append(m + (member == g) / np.maximum(e[:, g], _LEAST) * (y - m))
    gap, low, high = mean_interval(terms[0] - terms[1])
    a, b = y[member == k], y[member == 0]
    raw = float(a.mean() - b.mean()) if len(a) and len(b) else np.nan
    half = 1.96 * float(np.sqrt(a.var() / max(len(a), 1) + b.var() / max(len(b), 1))) if len(a) else np.nan
    both = (member == k) | (member == 0)
    alone = float((np.minimum(e[both, k], e[both, 0]) < _LEAST).mean()) if both.any() else np.nan
    p = _two_sided(terms[0] - terms[1]) if groups.enough(k) else np.nan
    return Gap(
        groups.labels[k],
        groups.labels[0],
        name,
        raw,
        raw - half,
        raw + half,
        gap,
        low,
        high,
        p,
        int(both.sum()),
        alone,
    )


def _two_sided(values: Array) -> float:
    from scipy.stats import t  # pyright: ignore[reportMissingTypeStubs]

    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(2 * t.sf(abs(values.mean()) / error, len(values) - 1)) if error > 0 else 1.0


def _levels(density: GivenGroup, rows: Encoded, place: int, states: int) -> Array:
    """Return p(outcome | group, rest) of each level, (rows, levels)."""
    column = density.columns[0]
    found = np.empty((len(rows), states))
    for s in range(states):
        tried = Encoded(rows.state.copy(), rows.value.copy())
        tried.state[:, column], tried.value[:, column] = s, np.nan
        found[:, s] = np.exp(density.joint.log_prob(density.rows(tried, place)))
    return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300)


def _mean(density: GivenGroup, rows: Encoded, place: int, seed: int) -> Array:
    """Return E[outcome | group, rest] by draws; errors of these cost no bias in the gap."""
    column = density.columns[0]
    repeated = rows.rows(np.repeat(np.arange(len(rows)), _DRAWS))
    drawn = density.sample(repeated, place, seed)
    variable = density.groups.variables[column]
    y = numbers_of(variable, drawn.state[:, column], drawn.value[:, column]).reshape(len(rows), _DRAWS)
    known = np.isfinite(y)
    return np.where(known, y, 0.0).sum(1) / np.maximum(known.sum(1), 1)
