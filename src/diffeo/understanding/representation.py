"""Who is in the table: shares, effective rows, and regions where a group has next to no support."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import lower_ranks, share_interval
from diffeo.errors import ConfigError, number
from diffeo.understanding.groups import Groups, contrast
from diffeo.understanding.labels import as_label

Array = NDArray[np.float64]

#: Where the density of a group is below that of so many of its own rows it has next to no support.
RARE = 0.05


@dataclass(frozen=True)
class Presence:
    """How a group is represented.

    Attributes:
        group: the group.
        rows: its rows.
        share: of all rows.
        low: of the 95 % interval of the share (Clopper & Pearson).
        high: as ``low``.
        mass: its share under the model, NaN where the group is not modelled.
        expected: its share in the population, NaN where that was not given.
        expected_p: of a share like this if the rows were drawn from that population.
        effective: the effective size of its test rows once weighted to look like all rows, as a share of
            them: 1 where it covers what all cover.
        unsupported: the share of other groups' test rows at which its density is lower than at 95 % of its
            own; 5 % where groups do not differ.
        unsupported_low: of the 95 % interval of that.
        unsupported_high: as ``unsupported_low``.
        unsupported_p: of so many by chance (exact: ranks of pooled rows).
        where: what these rows have, in words.
        missing: rows that would have to be added to be as many as the largest group.
    """

    group: str
    rows: int
    share: float
    low: float
    high: float
    mass: float
    expected: float
    expected_p: float
    effective: float
    unsupported: float
    unsupported_low: float
    unsupported_high: float
    unsupported_p: float
    where: str
    missing: int


def presences(
    groups: Groups,
    log_p: Array,
    mass: Mapping[str, float],
    population: Mapping[str, float] | None,
    seed: int = 0,
) -> list[Presence]:
    """Return how each group is represented.

    Args:
        groups: the rows.
        log_p: log p(x | group) of the test rows, (rows, groups).
        mass: shares under the model.
        population: shares that the rows should have, by group.
        seed: of the order of rows that are exactly as likely as one another.
    """
    shares = population_shares(groups, population)
    found, total = list[Presence](), len(groups.member)
    rows, member = groups.rows.rows(groups.test), groups.member[groups.test]
    share = np.array(groups.sizes) / total
    whole = np.logaddexp.reduce(log_p + np.log(share), axis=1)
    for k, label in enumerate(groups.labels):
        mine, size = member == k, groups.sizes[k]
        low, high = share_interval(size, total)
        weight = np.exp(whole[mine] - log_p[mine, k])
        effective = float(weight.sum() ** 2 / (weight**2).sum() / mine.sum()) if mine.any() else np.nan
        rank = lower_ranks(log_p[mine, k], log_p[~mine, k])
        rare = np.zeros(len(member), dtype=bool)
        rare[np.flatnonzero(~mine)[rank <= RARE]] = True
        outside = int(rare.sum())
        ends = share_interval(outside, int((~mine).sum()))
        wheres = [contrast(groups.schema, rows, j, rare, mine) for j in groups.features] if outside else []
        where = max(wheres, default=(0.0, ""))
        expected = shares.get(label, np.nan)
        found.append(
            Presence(
                label,
                size,
                size / total,
                low,
                high,
                float(mass.get(label, np.nan)),
                expected,
                _binomial(size, total, expected),
                effective,
                outside / max(int((~mine).sum()), 1),
                *ends,
                _lowest(log_p[:, k], mine, seed) if groups.enough(k) else np.nan,
                where[1],
                max(groups.sizes) - size,
            )
        )
    return found


def population_shares(groups: Groups, population: Mapping[str, float] | None) -> dict[str, float]:
    """Return the population's shares by group, of sum one.

    Raises:
        ConfigError: a group is not in it, or a share is none.
    """
    if population is None:
        return {}
    given = {as_label(label): share for label, share in population.items()}
    for label, share in given.items():
        number(f"population[{label!r}]", share, least=0)
    missing = [label for label in groups.labels if label not in given]
    if missing or not sum(given.values()) > 0:
        raise ConfigError(
            f"population lacks group {missing[0] if missing else '(all are 0)'!r}; expected a share for "
            f"each of {', '.join(groups.labels)}."
        )
    return {label: share / sum(given.values()) for label, share in given.items()}


def _binomial(count: int, total: int, expected: float) -> float:
    from scipy.stats import binomtest  # pyright: ignore[reportMissingTypeStubs]

    return float(binomtest(count, total, expected).pvalue) if np.isfinite(expected) else np.nan


def _lowest(score: Array, mine: NDArray[np.bool_], seed: int) -> float:
    """Return the p-value of so many others among the lowest scores of all, exact where groups are alike.

    Ties are in an order of chance: that of the rows may be by group.
    """
    from scipy.stats import hypergeom  # pyright: ignore[reportMissingTypeStubs]

    count = max(1, round(RARE * len(score)))
    ties = np.random.default_rng([seed, 5]).random(len(score))
    lowest = np.lexsort((ties, np.round(score, 9)))[:count]  # what ties but for rounding does tie
    others = int((~mine[lowest]).sum())
    return float(hypergeom.sf(others - 1, len(score), int((~mine).sum()), count))
