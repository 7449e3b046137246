"""``audit``: what a density says of groups — who is there, whom it fits, what tells of the group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import holm
from diffeo.errors import DataError, at_least, number
from diffeo.understanding.balance import Synthetic, Weights, synthetic_rows, weights_for
from diffeo.understanding.given_group import Effort, GivenGroup
from diffeo.understanding.group_fit import GroupFit, group_fits
from diffeo.understanding.groups import Groups, grouped
from diffeo.understanding.outcome import Gap, gaps
from diffeo.understanding.plain import as_plain, chance, listing, percent
from diffeo.understanding.proxies import Distance, Proxy, column_proxies, distances, joint_proxy
from diffeo.understanding.representation import RARE, Presence, population_shares, presences
from diffeo.understanding.subject import Subject, encoded
from diffeo.understanding.transport import Transport, transports

Array = NDArray[np.float64]

#: Draws from the model, and from each group's density.
_DRAWS = 4_000


@dataclass(frozen=True)
class Finding:
    """One test of the audit.

    Attributes:
        section: "representation", "overlap", "fit", "proxy", "joint" or "outcome".
        about: the group, or the columns.
        p: its p-value.
        adjusted: corrected for all tests of the audit (Holm).
        words: what it says if it holds.
    """

    section: str
    about: str
    p: float
    adjusted: float
    words: str


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        group: the column of groups.
        outcome: the outcome's column, or None.
        level: the chance of any finding at all where there is nothing to find.
        rows: rows that were audited, and left out (a cell cannot be under the schema).
        left_out: as ``rows``.
        trained: the share of rows that the model was trained on, NaN where that is not known.
        presence: how each group is represented.
        fit: how well the model fits each group.
        proxies: what each column tells of the group.
        joint: what all columns together do, and each of the sets asked for.
        distances: how far the groups' densities are apart.
        gaps: how the outcome differs where all else is alike.
        transports: rows as they would be in another group.
        tests: every test, the smallest p first.
        too_small: groups with too few rows for a verdict.
    """

    group: str
    outcome: str | None
    level: float
    rows: int
    left_out: int
    trained: float
    presence: tuple[Presence, ...]
    fit: tuple[GroupFit, ...]
    proxies: tuple[Proxy, ...]
    joint: tuple[Proxy, ...]
    distances: tuple[Distance, ...]
    gaps: tuple[Gap, ...]
    transports: tuple[Transport, ...]
    tests: tuple[Finding, ...]
    too_small: tuple[str, ...]
    groups: Groups = field(repr=False, compare=False, metadata={"shown": False})
    density: GivenGroup = field(repr=False, compare=False, metadata={"shown": False})
    of_outcome: GivenGroup | None = field(repr=False, compare=False, metadata={"shown": False})

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Return the tests that hold after correction for all of them."""
        return tuple(test for test in self.tests if test.adjusted <= self.level)

    def in_words(self) -> str:
        """Return the audit in words, the findings first."""
        lines = [
            f"Audit of {self.rows} rows by {self.group}"
            + (f", outcome {self.outcome}" if self.outcome else "")
            + f": {len(self.findings)} finding(s) of {len(self.tests)} tests (by chance there is none "
            f"at all with probability {1 - self.level:.0%})."
        ]
        lines += [f"• {one.words} ({chance(one.adjusted)}, corrected)." for one in self.findings]
        if self.too_small:
            lines.append(
                f"Too few rows for a verdict: {listing(self.too_small)}. Read their intervals; no finding "
                "does not mean no difference."
            )
        for one in self.presence:
            lines.append(
                f"{self.group} {one.group}: {one.rows} rows, {percent(one.share)} "
                f"({percent(one.low)} to {percent(one.high)}) of the table"
                + (f"; {one.missing} rows fewer than the largest group" if one.missing else "")
                + "."
            )
        for one in self.gaps:
            lines.append(
                f"{one.outcome}, {one.group} against {one.against}: {one.raw:+.3g} as it stands, "
                f"{one.gap:+.3g} ({one.low:+.3g} to {one.high:+.3g}) where all other columns are alike"
                + (
                    f"; {percent(one.uncomparable)} of rows have no counterpart there."
                    if one.uncomparable > 0.01
                    else "."
                )
            )
        if self.left_out:
            lines.append(f"{self.left_out} rows were left out: a cell cannot be under the schema.")
        if self.trained > 0.01:
            lines.append(
                f"The model was trained on {self.trained:.0%} of these rows: its nats are those of rows "
                "that it knows. Pass held-out rows to judge its fit."
            )
        return "\n".join(lines)

    def reweight(self, goal: str = "independence", *, most: float = 10.0) -> Weights:
        """Return weights of the audited rows; see :func:`reweight`."""
        return weights_for(self.groups, self.density, goal, most, self.rows + self.left_out)

    def additional(self) -> dict[str, int]:
        """Return the rows of each group that would make all as many as the largest."""
        return {one.group: one.missing for one in self.presence}

    def synthetic(self, group: str, n: int, *, random_state: int = 0) -> Synthetic:
        """Return ``n`` rows drawn from the group's density, marked as made.

        They repeat what was learned of the group and add no information; for a group of few rows, little.
        """
        at_least("random_state", random_state, 0)
        return synthetic_rows(self.groups, self.density, self.of_outcome, group, n, random_state)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {**as_plain(self), "words": self.in_words()}

    def __str__(self) -> str:
        return self.in_words()


def reweight(result: Audit, goal: str = "independence", *, most: float = 10.0) -> Weights:
    """Return weights of the rows that were audited, one for each row of that table.

    Args:
        result: what ``audit`` returned.
        goal: "independence" (columns tell nothing of the group: w = p(x) / p(x | group)) or "shares"
            (groups have equal shares).
        most: the largest weight, in units of its group's mean.
    """
    return result.reweight(goal, most=most)


def audit(
    model: Any,
    data: Any,
    *,
    group: str,
    outcome: str | None = None,
    population: Mapping[str, float] | None = None,
    sets: Sequence[Sequence[str]] = (),
    level: float = 0.05,
    architecture: str = "auto",
    time_budget: float | None = None,
    max_steps: int | None = None,
    permutations: int = 1_999,
    random_state: int = 0,
) -> Audit:
    """Return what a density says of the groups of a table.

    Half of the rows (of each group) learn p(x | group), an exact density as
    ``FlowDensity.fit(…, context=)`` makes one; the other half test. All tests together
    have a chance of ``level`` to find anything where there is nothing (Holm). Groups of fewer than 20 rows
    get intervals and no tests.

    Args:
        model: a fitted ``FlowDensity`` without context, with or without the group's column.
        data: the rows, with the columns of the model and the group's.
        group: the column of groups; a number is taken as categories.
        outcome: a column whose difference between groups is asked for where all others are alike.
        population: the share that each group should have, by label (a date or its text, as 2024-03-09);
            without it shares are only told.
        sets: sets of columns to ask, together, what they tell of the group; all columns always are.
        level: see above.
        architecture: of the densities inside, as ``FlowDensity`` has it.
        time_budget: seconds of each of their fits.
        max_steps: optimisation steps of each, at most; with it no clock decides anything.
        permutations: of each test: no p-value is below 1 / (permutations + 1).
        random_state: seed of everything random.

    Raises:
        ConfigError: an argument is not allowed.
        DataError: a column is not there, or there are not two groups.
    """
    number("level", level, above=0, below=1)
    number("time_budget", time_budget, above=0, optional=True)
    at_least("max_steps", max_steps, 1, optional=True)
    at_least("permutations", permutations, 19)
    at_least("random_state", random_state, 0)
    subject = Subject.of(model, "audit")
    groups = grouped(subject, data, group, outcome, random_state)
    population_shares(groups, population)
    asked = [[_place(groups, name) for name in one] for one in sets]
    effort = Effort(architecture, time_budget, max_steps, random_state)
    features = groups.features
    if not features:
        raise DataError(f"there is no column besides {group!r}; expected some to compare groups by.")
    density = GivenGroup.fit(groups, features, effort)
    test_rows = groups.rows.rows(groups.test)
    log_p = density.log_probs(test_rows)
    joint = [joint_proxy(groups, density, log_p, permutations, random_state)]
    for k, columns in enumerate(asked):
        own = GivenGroup.fit(groups, columns, effort)
        joint.append(joint_proxy(groups, own, own.log_probs(test_rows), permutations, random_state + k + 1))
    of_outcome = None
    if outcome is not None:
        of_outcome = GivenGroup.fit(groups, [groups.outcome], effort, features)
    scored, mass = _under_model(subject, groups, data, density, of_outcome)
    presence = presences(groups, log_p, mass, population, random_state)
    fit = group_fits(groups, *scored, permutations, random_state)
    proxies = column_proxies(groups, features, permutations, random_state)
    found = [] if of_outcome is None else gaps(groups, of_outcome, log_p, random_state)
    return Audit(
        group,
        outcome,
        level,
        len(groups.rows),
        int(len(encoded(groups.schema, data)) - len(groups.rows)),
        subject.trained_share(subject.encode(data, "data")),
        tuple(presence),
        tuple(fit),
        tuple(proxies),
        tuple(joint),
        tuple(distances(groups, density, _DRAWS // 2, random_state)),
        tuple(found),
        tuple(transports(groups, density, of_outcome)),
        _tests(
            group, presence, fit, proxies, joint, found, [groups.enough(k) for k in range(len(presence))]
        ),
        tuple(label for k, label in enumerate(groups.labels) if not groups.enough(k)),
        groups,
        density,
        of_outcome,
    )


def _place(groups: Groups, name: str) -> int:
    names = [groups.variables[k].name for k in groups.features]
    if name not in names:
        raise DataError(f"sets names {name!r}; expected some of {', '.join(names)}.")
    return groups.features[names.index(name)]


def _under_model(
    subject: Subject, groups: Groups, data: Any, density: GivenGroup, of_outcome: GivenGroup | None
) -> tuple[tuple[Array, NDArray[np.int64], Array, Array], dict[str, float]]:
    """Return log p of rows, their groups, what is expected of each and its variance; and groups' masses."""
    kinds = len(groups.labels)
    own = subject.log_prob(subject.encode(data, "data"))[groups.kept]
    if groups.variables[groups.group].name not in subject.names:
        return (*_without_group(subject, groups, own, density, of_outcome), np.full(kinds, np.nan)), {}
    table = subject.model.sample(_DRAWS, random_state=groups.test.size)
    drawn = subject.log_prob(subject.encode(table, "draws"))
    # Of the draws only the group is read: the model may not have the outcome.
    schema = replace(groups.schema, order=(groups.variables[groups.group].name,))
    state = encoded(schema, table).state[:, 0]
    mean, variance, mass = np.full(kinds, np.nan), np.full(kinds, np.nan), dict[str, float]()
    for k, s in enumerate(groups.states):
        values = drawn[(state == s) & np.isfinite(drawn)]
        mass[groups.labels[k]] = float((state == s).mean())
        if len(values) > 1:
            mean[k], variance[k] = values.mean(), values.var() / len(values)
    return (own, groups.member, mean[groups.member], variance), mass


def _without_group(
    subject: Subject, groups: Groups, own: Array, density: GivenGroup, of_outcome: GivenGroup | None
) -> tuple[Array, NDArray[np.int64], Array]:
    """Return log p of test rows, their groups, and log p(x | group), learned apart, of the same columns.

    It was learned from fewer rows for a smaller group, so that it says how much the group would tell the
    model, but not whether the model is worse for it: there is no test.
    """
    rows, expected = groups.rows.rows(groups.test), np.zeros(len(groups.test))
    told = [one for one in (density, of_outcome) if one is not None]
    for one in told:
        expected += one.joint.log_prob(one.rows(rows))
    columns = {groups.variables[k].name for one in told for k in one.columns}
    if columns != set(subject.names):
        expected[:] = np.nan
    return own[groups.test], groups.member[groups.test], expected


def _tests(
    group: str,
    presence: list[Presence],
    fit: list[GroupFit],
    proxies: list[Proxy],
    joint: list[Proxy],
    found: list[Gap],
    enough: list[bool],
) -> tuple[Finding, ...]:
    """Return every test, corrected for all, the smallest first."""
    # Where two groups at least have the rows for it.
    some = sum(enough) >= 2
    told = [
        *(("representation", one.group, one.expected_p, _share_words(group, one)) for one in presence),
        *(("overlap", one.group, one.unsupported_p, _overlap_words(group, one)) for one in presence),
        *(("fit", one.group, one.p, _fit_words(group, one)) for one in fit),
        *(
            (section, ", ".join(one.columns), one.p if some else np.nan, _proxy_words(group, one))
            for section, each in (("proxy", proxies), ("joint", joint))
            for one in each
        ),
        *(("outcome", f"{one.group}, {one.outcome}", one.p, _gap_words(group, one)) for one in found),
    ]
    kept = sorted((t for t in told if np.isfinite(t[2])), key=_p_of)
    adjusted = holm([p for _, _, p, _ in kept])
    return tuple(Finding(*t[:3], float(a), t[3]) for t, a in zip(kept, adjusted, strict=True))


def _p_of(told: tuple[str, str, float, str]) -> float:
    return told[2]


def _share_words(group: str, one: Presence) -> str:
    return (
        f"{group} {one.group} is {percent(one.share)} of the rows, where the population has "
        f"{percent(one.expected)}"
    )


def _overlap_words(group: str, one: Presence) -> str:
    where = f" ({one.where})" if one.where else ""
    return (
        f"{percent(one.unsupported)} of the others are where {group} {one.group} has next to no support, "
        f"{percent(RARE)} would be by chance{where}"
    )


def _fit_words(group: str, one: GroupFit) -> str:
    return (
        f"the model fits {group} {one.group} worse than the others: {one.shortfall:+.2f} nats a row "
        f"({one.shortfall_low:+.2f} to {one.shortfall_high:+.2f}) of what is expected of it"
    )


def _proxy_words(group: str, one: Proxy) -> str:
    single = len(one.columns) == 1
    name = f"{one.columns[0]} tells" if single else f"{len(one.columns)} columns together tell"
    where = f": {one.where}" if one.where else ""
    most = "" if single else "at least "  # a density that was learned tells no more than there is
    return f"{name} of {group}, {most}{percent(max(one.share, 0))} of what there is to know{where}"


def _gap_words(group: str, one: Gap) -> str:
    return (
        f"{one.outcome} differs by {one.gap:+.3g} ({one.low:+.3g} to {one.high:+.3g}) between {group} "
        f"{one.group} and {one.against} where all other columns are alike"
    )
