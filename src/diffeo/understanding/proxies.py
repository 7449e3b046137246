"""What columns tell of the group: information by column, by all columns, and how far groups are apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import mean_interval
from diffeo.understanding.given_group import GivenGroup
from diffeo.understanding.groups import Groups, cells_of, contrast

Array = NDArray[np.float64]

#: Rows that permutations are of, at most.
_MOST = 20_000


@dataclass(frozen=True)
class Proxy:
    """What columns tell of the group, in nats.

    Attributes:
        columns: which.
        information: I(group; columns). Of one column: over cells of equal counts, what permuted groups
            have on average taken off. Of several: mean of log p(columns | group) − log p(columns) over test
            rows, a lower bound but for chance.
        low: of the 95 % interval, where there is one.
        high: as ``low``.
        share: information over the entropy of the group: 1 says that it is known from these columns.
        p: of permuted groups.
        where: how the groups differ there, in words.
    """

    columns: tuple[str, ...]
    information: float
    low: float
    high: float
    share: float
    p: float
    where: str


@dataclass(frozen=True)
class Distance:
    """How far the learned p(x | group) is from that of all other groups, by draws from both.

    Attributes:
        group: the group.
        kl: KL(p(x | group) ‖ p(x | other groups)), in nats.
        kl_error: its standard error, of Monte Carlo alone.
        back: KL the other way.
        back_error: as ``kl_error``.
        js: the Jensen–Shannon divergence of the two, from 0 to log 2.
        js_error: as ``kl_error``.
    """

    group: str
    kl: float
    kl_error: float
    back: float
    back_error: float
    js: float
    js_error: float


def column_proxies(groups: Groups, columns: list[int], permutations: int, seed: int) -> list[Proxy]:
    """Return what each column by itself tells of the group, on all rows."""
    draws = np.random.default_rng([seed, 11])
    count, kinds = len(groups.rows), len(groups.labels)
    chosen = draws.permutation(count)[:_MOST] if count > _MOST else np.arange(count)
    rows, member = groups.rows.rows(chosen), groups.member[chosen]
    entropy = _entropy(np.bincount(member, minlength=kinds) / len(member))
    coded = [cells_of(groups.variables[k], rows, k) for k in columns]
    seen = np.array([_information(member, cell, kinds, cells) for cell, cells in coded])
    null = np.empty((permutations, len(columns)))
    for r in range(permutations):
        shuffled = draws.permutation(member)
        null[r] = [_information(shuffled, cell, kinds, cells) for cell, cells in coded]
    found = list[Proxy]()
    for k, column in enumerate(columns):
        net = float(seen[k] - null[:, k].mean())
        p = (1 + int((null[:, k] >= seen[k] - 1e-12).sum())) / (permutations + 1)
        where = max(
            (*contrast(groups.schema, rows, column, member == g, member != g), groups.labels[g])
            for g in range(kinds)
        )
        said = f"{where[1]} ({where[2]} against the rest)" if where[1] else ""
        name = (groups.variables[column].name,)
        found.append(Proxy(name, net, float("nan"), float("nan"), net / max(entropy, 1e-12), p, said))
    return found


def _information(member: NDArray[np.int64], cell: NDArray[np.int64], kinds: int, cells: int) -> float:
    """Return the plug-in mutual information of two codes."""
    table = np.bincount(member * cells + cell, minlength=kinds * cells).reshape(kinds, cells) / len(member)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    full = table > 0
    return float((table[full] * np.log(table[full] / expected[full])).sum())


def _entropy(shares: Array) -> float:
    kept = shares[shares > 0]
    return float(-(kept * np.log(kept)).sum())


def joint_proxy(groups: Groups, density: GivenGroup, log_p: Array, permutations: int, seed: int) -> Proxy:
    """Return what columns together tell of the group on the test rows.

    The density was learned on other rows, so that permuting the groups of the test rows gives the exact law
    of the sum of log p(x | group) where x does not depend on the group.

    Args:
        groups: the rows.
        density: of the columns.
        log_p: its :meth:`~GivenGroup.log_probs` of the test rows.
        permutations: how many.
        seed: of these.
    """
    member, draws = groups.member[groups.test], np.random.default_rng([seed, 12])
    shares = np.bincount(groups.member, minlength=len(groups.labels)) / len(groups.member)
    own = log_p[np.arange(len(member)), member]
    told = own - np.logaddexp.reduce(log_p + np.log(shares), axis=1)
    total, above = own.sum(), 0
    for _ in range(permutations):
        above += int(log_p[np.arange(len(member)), draws.permutation(member)].sum() >= total - 1e-9)
    mean, low, high = mean_interval(told)
    names = tuple(groups.variables[k].name for k in density.columns)
    share = mean / max(_entropy(shares), 1e-12)
    return Proxy(names, mean, low, high, share, (1 + above) / (permutations + 1), "")


def distances(groups: Groups, density: GivenGroup, draws: int, seed: int) -> list[Distance]:
    """Return how far each group's learned density is from that of the others together."""
    kinds = len(groups.labels)
    shares = np.bincount(groups.member, minlength=kinds) / len(groups.member)
    pick = np.random.default_rng([seed, 13])
    some = groups.rows.rows(np.zeros(draws, np.int64))
    drawn = [density.sample(some, k, seed + k) for k in range(kinds)]
    log_p = [density.log_probs(rows) for rows in drawn]
    found = list[Distance]()
    for k in range(kinds):
        rest = np.where(np.arange(kinds) == k, 0.0, shares) / (1 - shares[k])
        which = pick.choice(kinds, draws, p=rest)
        other = np.stack([log_p[g][i] for i, g in enumerate(which)])
        with np.errstate(divide="ignore"):
            weight = np.log(rest)
        here = _ratio(log_p[k], k, weight)
        there = -_ratio(other, k, weight)
        # log p/m of either, m the middle of the two: log 2 − log(1 + e^−ratio).
        js = 0.5 * (_middle(here) + _middle(there))
        kl, back = (_mean_error(one) for one in (here, there))
        middle = _mean_error(js)
        found.append(Distance(groups.labels[k], *kl, *back, *middle))
    return found


def _ratio(log_p: Array, k: int, weight: Array) -> Array:
    """Return log p(x | group k) − log p(x | others)."""
    return log_p[:, k] - np.logaddexp.reduce(log_p + weight, axis=1)


def _middle(ratio: Array) -> Array:
    return np.log(2.0) - np.logaddexp(0.0, -ratio)


def _mean_error(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(values.std() / len(values) ** 0.5)
