"""``drift``: do new rows come from where the old ones came from, and which columns moved?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.significance import holm
from diffeo.errors import at_least, number
from diffeo.tables.variable import Encoded, Variable, numbers_of
from diffeo.understanding.groups import contrast
from diffeo.understanding.plain import as_plain, chance, listing, percent
from diffeo.understanding.subject import Subject

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ColumnDrift:
    """How one column moved.

    Attributes:
        column: its name.
        p: of one distribution: Kolmogorov & Smirnov for numbers, permuted χ² for states, twice the lesser
            where the column has both.
        adjusted: corrected for all tests (Holm).
        given: the same for the column's latent number, that is for its distribution given the columns
            before it in the model's order: small where the column moved by itself, not with others.
        given_adjusted: as ``adjusted``.
        size: how far, from 0 to 1: |2·AUC − 1| of numbers, the largest change of a share of states.
        where: in words, current against reference.
    """

    column: str
    p: float
    adjusted: float
    given: float
    given_adjusted: float
    size: float
    where: str


@dataclass(frozen=True)
class Drift:
    """What two tables under one model say of each other.

    Attributes:
        level: the chance of any finding where both have one law.
        rows: of the reference and of the current table.
        impossible: current rows that the columns' kinds rule out, as a share.
        trained: the share of reference rows that the model was trained on, NaN where not known.
        nats: mean log p of reference and of current rows that can be.
        nats_p: of one distribution of log p (Kolmogorov & Smirnov).
        nats_adjusted: corrected for all tests.
        auc: how well a classifier tells current from reference rows, ½ for not at all.
        ratio_p: of the classifier two-sample test.
        ratio_adjusted: corrected.
        log_ratio: log of the density ratio current / reference at each current row, by a classifier that
            was not trained on it; NaN for rows that cannot be.
        effective: the share of reference rows that is left, as effective sample size, once they are
            weighted by the ratio to look like current ones.
        columns: each column, the smallest p first.
    """

    level: float
    rows: tuple[int, int]
    impossible: float
    trained: float
    nats: tuple[float, float]
    nats_p: float
    nats_adjusted: float
    auc: float
    ratio_p: float
    ratio_adjusted: float
    log_ratio: Array
    effective: float
    columns: tuple[ColumnDrift, ...]

    @property
    def drifted(self) -> bool:
        """Whether any test holds after correction."""
        return bool(self.moved) or min(self.nats_adjusted, self.ratio_adjusted) <= self.level

    @property
    def moved(self) -> tuple[str, ...]:
        """Return the columns that moved, by themselves or with others."""
        return tuple(c.column for c in self.columns if min(c.adjusted, c.given_adjusted) <= self.level)

    def in_words(self) -> str:
        """Return what was found, in a few lines."""
        lines = [
            f"{self.rows[1]} current rows against {self.rows[0]}: "
            + (f"they drifted; {listing(self.moved)} moved." if self.moved else "")
            + ("they drifted, though no single column shows it." if self.drifted and not self.moved else "")
            + ("no drift was found." if not self.drifted else "")
        ]
        for one in self.columns:
            if one.column in self.moved:
                alone = one.given_adjusted <= self.level
                lines.append(
                    f"• {one.where or one.column} ({chance(min(one.adjusted, one.given_adjusted))})"
                    + (": it moved by itself." if alone else ": with the columns before it.")
                )
        lines.append(
            f"A classifier tells current rows with AUC {self.auc:.2f} ({chance(self.ratio_adjusted)}, "
            f"corrected); log p is {self.nats[1]:.2f} nats a row, {self.nats[0]:.2f} in the reference "
            f"({chance(self.nats_adjusted)}). Weighted to look like current rows, the reference "
            f"counts as {percent(self.effective)} of its rows."
        )
        if self.impossible > 0:
            lines.append(f"{percent(self.impossible)} of current rows cannot be under the columns' kinds.")
        if self.trained > 0.01:
            lines.append(
                f"The model was trained on {percent(self.trained)} of the reference: part of a fall of log "
                "p may be that it knows these rows."
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {**as_plain(self), "drifted": self.drifted, "words": self.in_words()}

    def __str__(self) -> str:
        return self.in_words()


def drift(
    model: Any,
    reference: Any,
    current: Any,
    *,
    level: float = 0.05,
    permutations: int = 1_999,
    random_state: int = 0,
) -> Drift:
    """Return whether ``current`` rows come from the law of ``reference`` rows, and which columns moved.

    Every test compares the two tables with each other; the model only says what to look at (log p, latent
    numbers), so that no p-value relies on its being right. All tests together have a chance of ``level`` to
    find anything where nothing drifted (Holm).

    Args:
        model: a fitted ``FlowDensity`` without context.
        reference: rows as they were; best rows that the model was not trained on.
        current: rows as they are.
        level: see above.
        permutations: of the tests of states.
        random_state: seed of these and of the classifier.

    Raises:
        ConfigError: the model is none of these.
        DataError: a table has fewer than eight rows that can be.

    >>> import diffeo
    >>> draws = np.random.default_rng(0)
    >>> x = draws.normal(size=(300, 2))
    >>> model = diffeo.FlowDensity("gaussian", max_steps=10, random_state=0).fit(x)
    >>> old, new = draws.normal(size=(2, 200, 2))
    >>> new[:, 1] += 1
    >>> drift(model, old, new).moved
    ('x1',)
    """
    number("level", level, above=0, below=1)
    at_least("permutations", permutations, 19)
    at_least("random_state", random_state, 0)
    from diffeo.diagnostics.samples import classifier_two_sample

    subject = Subject.of(model, "drift")
    old, now = subject.encode(reference, "reference"), subject.encode(current, "current")
    possible = (now.state >= 0).all(axis=1)
    trained = subject.trained_share(old)
    old, new = old.rows((old.state >= 0).all(axis=1)), now.rows(possible)
    joint = subject.model.density_.joint
    log_p = [subject.log_prob(rows) for rows in (old, new)]
    latent = [_bounded(joint.encode(rows)) for rows in (old, new)]
    order = [int(k) for k in joint.modelled]
    both = Encoded.stack([old, new])
    mine = np.arange(len(both)) >= len(old)
    told = list[tuple[str, float, float, float, str]]()
    for j, variable in enumerate(subject.variables):
        draws = np.random.default_rng([random_state, j])
        p = _moved(variable, old, new, j, permutations, draws)
        given = _same(latent[0][:, order.index(j)], latent[1][:, order.index(j)])
        size, where = contrast(subject.schema, both, j, mine, ~mine)
        told.append((variable.name, p, given, size, where))
    # The classifier sees latent numbers and log p: what is unlike in rows is unlike there.
    seen = [np.column_stack([z, _bounded(lp)]) for z, lp in zip(latent, log_p, strict=True)]
    ratio = classifier_two_sample(seen[0], seen[1], random_state)
    nats_p = _same(_bounded(log_p[0]), _bounded(log_p[1]))
    adjusted = holm([nats_p, ratio.p_value, *(t[1] for t in told), *(t[2] for t in told)])
    width = len(told)
    columns = [
        ColumnDrift(name, p, float(adjusted[2 + j]), given, float(adjusted[2 + width + j]), size, where)
        for j, (name, p, given, size, where) in enumerate(told)
    ]
    at_new, at_old = _log_ratios(seen[0], seen[1], random_state)
    log_ratio = np.full(len(now), np.nan)
    log_ratio[possible] = at_new
    weight = np.exp(at_old - at_old.max())
    means = tuple(float(one[np.isfinite(one)].mean()) for one in log_p)
    return Drift(
        level,
        (len(old), len(now)),
        float(1 - possible.mean()),
        trained,
        (means[0], means[1]),
        nats_p,
        float(adjusted[0]),
        ratio.auc,
        ratio.p_value,
        float(adjusted[1]),
        log_ratio,
        float(weight.sum() ** 2 / (weight**2).sum() / len(weight)),
        tuple(sorted(columns, key=_least)),
    )


def _least(column: ColumnDrift) -> float:
    return min(column.p, column.given)


def _bounded(values: Array) -> Array:
    """Return finite numbers: those that are not are at the ends of what a float32 tree tells apart."""
    return np.clip(np.nan_to_num(values, nan=-1e30, posinf=1e30, neginf=-1e30), -1e30, 1e30)


def _same(a: Array, b: Array) -> float:
    from scipy.stats import ks_2samp  # pyright: ignore[reportMissingTypeStubs]

    return float(ks_2samp(a, b, method="asymp").pvalue)  # pyright: ignore


def _moved(
    variable: Variable,
    old: Encoded,
    new: Encoded,
    column: int,
    permutations: int,
    draws: np.random.Generator,
) -> float:
    """Return the p-value of one distribution of a column."""
    found = list[float]()
    numbers = [numbers_of(variable, one.state[:, column], one.value[:, column]) for one in (old, new)]
    known = [one[np.isfinite(one)] for one in numbers]
    if min(len(one) for one in known) > 1:
        found.append(_same(known[0], known[1]))
    # Atoms are numbers, and tested as such; whether there is one is a state.
    states = [_codes(variable, one.state[:, column]) for one in (old, new)]
    table = np.stack([np.bincount(s, minlength=variable.states + 1) for s in states])
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] > 1:
        found.append(_chi_square(table, permutations, draws))
    return min(1.0, len(found) * min(found)) if found else 1.0


def _codes(variable: Variable, state: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return states, those that are numbers as one."""
    if not variable.numeric:
        return state
    return np.where((state == variable.states - 1) & variable.missing, 1, 0)


def _chi_square(table: NDArray[np.int64], permutations: int, draws: np.random.Generator) -> float:
    """Return the permutation p-value of a table of two rows, exact for any counts."""
    columns, size = table.sum(axis=0), int(table[1].sum())
    share = size / columns.sum()
    expected = columns * share

    def statistic(counts: NDArray[np.int64]) -> Array:
        return ((counts - expected) ** 2 / (expected * (1 - share))).sum(axis=-1)

    drawn = draws.multivariate_hypergeometric(columns, size, permutations)
    above = int((statistic(drawn) >= float(statistic(table[1])) - 1e-9).sum())
    return (1 + above) / (permutations + 1)


def _log_ratios(old: Array, new: Array, seed: int) -> tuple[Array, Array]:
    """Return log p_new / p_old at new and at old rows, each by a forest that did not see the row."""
    from sklearn.ensemble import ExtraTreesClassifier

    x = np.concatenate([old, new])
    y = np.arange(len(x)) >= len(old)
    fold = np.random.default_rng([seed, 21]).permutation(len(x)) % 2
    found = np.empty(len(x))
    for k in range(2):
        forest = ExtraTreesClassifier(100, min_samples_leaf=10, class_weight="balanced", random_state=seed)
        forest.fit(x[fold != k], y[fold != k])
        share: Any = forest.predict_proba(x[fold == k])
        share = np.clip(share[:, -1], 0.01, 0.99)
        found[fold == k] = np.log(share / (1 - share))
    return found[y], found[~y]
