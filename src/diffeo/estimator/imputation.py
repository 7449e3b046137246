"""Filling holes: draws of the missing cells given the observed ones, with weights that say how good."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError
from diffeo.estimator.fitted import Fitted, refuse_impossible
from diffeo.estimator.joint import JointDensity
from diffeo.tables.frames import open_frame
from diffeo.tables.variable import Encoded, Variable

Array = NDArray[np.float64]

#: Cells of candidates that are held at a time.
_ROOM = 20_000_000

#: Combinations of unknown states that candidates cover, however few are asked for.
_COMBINATIONS = 200


@dataclass(frozen=True)
class Imputed:
    """Completed tables.

    Attributes:
        tables: as many frames as draws were asked for, each of the columns modelled (identifiers are not),
            without holes.
        effective: for each row, the effective sample size of its candidates, (Σw)² / Σw²; a row whose
            missing columns come last in the model's order, and had no hole in ``fit``, is drawn exactly and
            has all its draws, and so has one whose missing cells are of categories, all combinations of
            which were weighed; 0 for a row whose observed cells have density 0 in floating point: its draws
            are those of the proposal.
        proposals: how many candidates each row's draws were resampled from, where they were; some hundreds
            more where its unknown states have so many combinations.
    """

    tables: list[Any]
    effective: Array
    proposals: int

    def __iter__(self) -> Any:
        """Iterate over the completed tables."""
        return iter(self.tables)

    def __len__(self) -> int:
        """Return the number of completed tables."""
        return len(self.tables)


@dataclass(frozen=True)
class Strata:
    """States that candidates of rows with the same holes are forced into, so that none goes unseen.

    Attributes:
        columns: the columns of a whose states these are, as places in the order of the model.
        states: the combinations, (combinations, columns of a), −1 where no state is forced.
        whole: whether nothing else is unknown: a combination is then one completion, and its density its
            weight.
    """

    columns: NDArray[np.int64]
    states: NDArray[np.int64]
    whole: bool

    @classmethod
    def of(cls, joint: JointDensity, known: NDArray[np.bool_], most: int) -> Strata:
        """Return the strata of rows of which these columns are known, of ``most`` combinations at most.

        They are of the unknown columns with known cells after them, as many of these in order as ``most``
        has room for; of none where all unknown cells come last.
        """
        open_ = ~known[joint.ordered]
        sizes = [_states_of(joint.variables[k]) for k in joint.ordered]
        last = len(open_) if known[joint.plain].any() else int(np.flatnonzero(~open_).max(initial=-1))
        early, unknown = np.flatnonzero(open_[:last]), np.flatnonzero(open_)
        numbers = [joint.variables[k].numeric for k in joint.ordered[unknown]]
        discrete = len(early) > 0 and bool(known[joint.plain].all()) and not any(numbers)
        if discrete and math.prod(sizes[k] for k in unknown) <= most:
            return cls(unknown, _combinations(sizes, unknown), True)
        chosen, count = list[int](), 1
        for k in early:
            if 1 < sizes[k] <= most // count:
                chosen.append(int(k))
                count *= sizes[k]
        columns = np.array(chosen, np.int64)
        return cls(columns, _combinations(sizes, columns), False)

    def block(self, proposals: int) -> tuple[NDArray[np.int64], int, int]:
        """Return a row's forced states, (candidates, columns of a), and how many each and freely drawn.

        About half of the candidates go through all combinations in turn, each once at least; the others
        are drawn as the model has it.
        """
        if self.whole:
            return self.states, 1, 0
        count = len(self.states) if len(self.columns) else 0
        each = max(1, proposals // 2 // count) if count else 0
        free = max(proposals - each * count, proposals - proposals // 2)
        nothing = np.full((free, self.states.shape[1]), -1)
        return np.concatenate([np.tile(self.states, (each, 1)), nothing]), each, free


@dataclass(frozen=True)
class Candidates:
    """What the candidates of rows are drawn with, those of a row one after another.

    Attributes:
        row: the row that each is of, (candidates,).
        forced: states of the columns of a, −1 where they are drawn, (candidates, columns of a).
        strata: whether the row's candidates are forced there, of the same shape.
        each: how many candidates of the row are forced into each combination, (candidates,).
        free: how many into none.
        whole: whether the combinations are completions.
    """

    row: NDArray[np.int64]
    forced: NDArray[np.int64]
    strata: NDArray[np.bool_]
    each: Array
    free: Array
    whole: NDArray[np.bool_]

    @classmethod
    def of(cls, joint: JointDensity, known: NDArray[np.bool_], proposals: int) -> Candidates:
        """Return the candidates of rows of which these cells are known."""
        patterns, place = np.unique(known, axis=0, return_inverse=True)
        place, parts = place.reshape(-1), list[tuple[Any, ...]]()
        most = max(_COMBINATIONS, proposals)
        for k, pattern in enumerate(patterns):
            index, strata = np.flatnonzero(place == k), Strata.of(joint, pattern, most)
            block, each, free = strata.block(proposals)
            count = len(index) * len(block)
            marked = np.isin(np.arange(block.shape[1]), strata.columns)
            parts.append(
                (
                    np.repeat(index, len(block)),
                    np.tile(block, (len(index), 1)),
                    np.tile(marked, (count, 1)),
                    np.full(count, float(each)),
                    np.full(count, float(free)),
                    np.full(count, strata.whole),
                )
            )
        return cls(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def corrected(self, prior: Array, at: NDArray[np.int64]) -> Array:
        """Return what is added to the log-weights of candidates, given log P of the states they have.

        A combination of probability P is met each + free · P times on average, where freely drawn
        candidates are alone in meeting it P times: the weight is P / (each + free · P), the balance
        heuristic of Veach & Guibas, *Optimally combining sampling techniques* (1995).
        """
        log_p = np.where(self.strata[at], prior, 0.0).sum(1)
        with np.errstate(divide="ignore"):
            return log_p - np.logaddexp(np.log(self.each[at]), np.log(self.free[at]) + log_p)


def completed(
    joint: JointDensity, rows: Encoded, known: NDArray[np.bool_], draws: int, proposals: int, seed: int
) -> tuple[list[Encoded], Array]:
    """Return ``draws`` completions of each row, and the effective sample size of each row's candidates.

    Each candidate is drawn column by column in the model's order, an unknown cell given all before it, and
    weighted by the densities of the known cells that come after (likelihood weighting); draws are then
    resampled in proportion. Where no known cell comes after an unknown one all weights are equal, and the
    draws are exact.

    A state that is rare given what comes before may be all but certain given what comes after, and nothing
    in the weights says so if it was never drawn. Candidates are therefore forced into every combination of
    the unknown states before the last known cell, where there are no more than ``proposals``, or some
    hundreds; of more columns than that the first ones, as far as they go. Where nothing else is unknown
    the combinations are all completions there are, and the draws are exact too.

    Source: Fung & Chang, *Weighing and integrating evidence for stochastic simulation in Bayesian networks*
    (1990).
    """
    count, found = len(rows), Candidates.of(joint, known, proposals)
    filled, log_weight = _weighed(joint, rows, known, found, seed)
    _, start, size = np.unique(found.row, return_index=True, return_counts=True)
    table = np.full((count, size.max()), -np.inf)
    table[found.row, np.arange(len(found.row)) - start[found.row]] = log_weight
    likely = np.asarray(np.isfinite(table).any(axis=1))
    # Observed cells of density 0, to the last digit of a float, say nothing of which candidate is better.
    table = np.where(likely[:, None], np.where(np.isfinite(table), table, -np.inf), 0.0)
    table = np.where(np.arange(size.max()) < size[:, None], table, -np.inf)
    weight = np.exp(table - table.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    effective = np.where(found.whole[start], float(proposals), 1 / (weight**2).sum(1))
    effective = np.where(likely, effective, 0.0)
    # One uniform offset a row and equal steps: draws repeat a candidate no more than its weight asks for.
    points = (np.arange(draws) + np.random.default_rng([seed, 7]).random((count, 1))) / draws
    edges = weight.cumsum(1)
    edges /= edges[:, -1:]
    picked = np.stack([np.searchsorted(e, p, side="right") for e, p in zip(edges, points, strict=True)])
    picked = np.minimum(picked, size[:, None] - 1)
    order = np.random.default_rng([seed, 8]).permuted(picked, axis=1)
    return [filled.rows(start + order[:, k]) for k in range(draws)], effective


def _weighed(
    joint: JointDensity, rows: Encoded, known: NDArray[np.bool_], found: Candidates, seed: int
) -> tuple[Encoded, Array]:
    """Return the candidates, filled, and their log-weights."""
    filled, log_weight = rows.rows(found.row), np.empty(len(found.row))
    whole, other = np.flatnonzero(found.whole), np.flatnonzero(~found.whole)
    if len(whole):
        here = np.ix_(whole, joint.ordered)
        forced = found.forced[whole]
        filled.state[here] = np.where(forced < 0, filled.state[here], forced)
        filled.value[here] = np.where(forced < 0, filled.value[here], np.nan)
        log_weight[whole] = joint.log_prob(filled.rows(whole))
    if len(other):
        marks = known[found.row[other]]
        drawn, log_weight[other] = _proposed(joint, filled.rows(other), marks, found, other, seed)
        filled.state[other], filled.value[other] = drawn.state, drawn.value
    return filled, log_weight


def _proposed(
    joint: JointDensity,
    rows: Encoded,
    known: NDArray[np.bool_],
    found: Candidates,
    at: NDArray[np.int64],
    seed: int,
) -> tuple[Encoded, Array]:
    """Return the candidates at these places, drawn, and their log-weights."""
    a, log_weight = rows.columns(joint.ordered), np.zeros(len(rows))
    # Streams of their own: draws of b must not go with those of a.
    of_a, of_b, of_all = (int(s) for s in np.random.default_rng([seed, 9]).integers(2**62, size=3))
    if joint.mixed is not None:
        drawn = joint.mixed.complete_in_states(a, known[:, joint.ordered], of_a, found.forced[at])
        a, log_weight = drawn.rows, drawn.weight + found.corrected(drawn.prior, at)
    value = joint.in_units(rows)
    if joint.continuous is not None:
        here, context = known[:, joint.plain], joint.context_of(a)
        none = ~here.any(axis=1)
        some = np.flatnonzero(~none)
        if none.any():
            own = None if context is None else context[none]
            value[none] = joint.continuous.sample(int(none.sum()), of_all, own)
        if len(some):
            own = None if context is None else context[some]
            filled, more = joint.continuous.complete(value[some], here[some], own, seed=of_b, draws=1)
            value[some], log_weight[some] = filled[:, 0], log_weight[some] + more[:, 0]
    return joint.joined(a, value * joint.units), log_weight


def _combinations(sizes: list[int], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return all combinations of the states of some columns, −1 in the others, (combinations, columns)."""
    counts = [sizes[k] for k in columns]
    found = np.full((math.prod(counts), len(sizes)), -1)
    found[:, columns] = np.indices(counts).reshape(len(counts), len(found)).T
    return found


def _states_of(variable: Variable) -> int:
    """Return how many states an unknown cell may be in: all but missing, where there are others."""
    return variable.states - (variable.missing and variable.states > 1)


def imputed(density: Fitted, X: Any, draws: int, seed: int, proposals: int) -> Imputed:
    """Return ``X`` with its holes filled ``draws`` times; see ``FlowDensity.impute``."""
    if density.context_schema is not None:
        raise ConfigError(
            "impute is for densities without context; expected a model fitted without: put the context's "
            "columns into X, with first=[…]."
        )
    schema, joint = density.schema, density.joint
    holes = schema.holes(X)
    with warnings.catch_warnings():
        # A hole in a column that had none has density 0, which matters to nobody here.
        warnings.simplefilter("ignore", UserWarning)
        rows = schema.encode(X)
    remedy = "mend it, or leave the row out"
    refuse_impossible((rows.state < 0) & ~holes, joint.variables, "X", remedy)
    # Complete rows stay as they are; others go in parts, so that their candidates fit in memory.
    open_rows = np.flatnonzero(holes.any(axis=1))
    effective = np.full(len(rows), float(proposals))
    tables = [Encoded(rows.state.copy(), rows.value.copy()) for _ in range(draws)]
    size = max(1, _ROOM // ((proposals + _COMBINATIONS) * rows.state.shape[1]))
    for k, start in enumerate(range(0, len(open_rows), size)):
        part = open_rows[start : start + size]
        found, effective[part] = completed(joint, rows.rows(part), ~holes[part], draws, proposals, seed + k)
        for table, filled in zip(tables, found, strict=True):
            # Known cells stay to the last bit.
            table.state[part] = np.where(holes[part], filled.state, rows.state[part])
            table.value[part] = np.where(holes[part], filled.value, rows.value[part])
    frames = [schema.decode(table) for table in tables]
    if schema.library == "pandas" and open_frame(X).library == "pandas":
        for frame in frames:
            frame.index = X.index
    return Imputed(frames, effective, proposals)
