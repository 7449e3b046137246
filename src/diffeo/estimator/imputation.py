"""Filling holes: draws of the missing cells given the observed ones, with weights that say how good."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError
from diffeo.estimator.fitted import Fitted, refuse_impossible
from diffeo.estimator.joint import JointDensity
from diffeo.tables.frames import open_frame
from diffeo.tables.variable import Encoded

Array = NDArray[np.float64]

#: Cells of candidates that are held at a time.
_ROOM = 20_000_000


@dataclass(frozen=True)
class Imputed:
    """Completed tables.

    Attributes:
        tables: as many frames as draws were asked for, each of the columns modelled (identifiers are not),
            without holes.
        effective: for each row, the effective sample size of its draws, (Σw)² / Σw²; a row whose missing
            columns come last in the model's order, and had no hole in ``fit``, is drawn exactly and has all
            its draws; 0 for a row whose observed cells have density 0 in floating point: its draws are
            those of the proposal.
        proposals: how many candidates each row's draws were resampled from.
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


def completed(
    joint: JointDensity, rows: Encoded, known: NDArray[np.bool_], draws: int, proposals: int, seed: int
) -> tuple[list[Encoded], Array]:
    """Return ``draws`` completions of each row, and the effective sample size of each row's candidates.

    Each of ``proposals`` candidates is drawn column by column in the model's order, an unknown cell given
    all before it, and weighted by the densities of the known cells that come after (likelihood weighting);
    draws are then resampled in proportion. Where no known cell comes after an unknown one all weights are
    equal, and the draws are exact.

    Source: Fung & Chang, *Weighing and integrating evidence for stochastic simulation in Bayesian networks*
    (1990).
    """
    count = len(rows)
    repeated = rows.rows(np.repeat(np.arange(count), proposals))
    marks = np.repeat(known, proposals, axis=0)
    filled, log_weight = _proposed(joint, repeated, marks, seed)
    table = log_weight.reshape(count, proposals)
    likely = np.asarray(np.isfinite(table).any(axis=1))
    # Observed cells of density 0, to the last digit of a float, say nothing of which candidate is better.
    table = np.where(likely[:, None], np.where(np.isfinite(table), table, -np.inf), 0.0)
    weight = np.exp(table - table.max(1, keepdims=True))
    weight /= weight.sum(1, keepdims=True)
    effective = np.where(likely, 1 / (weight**2).sum(1), 0.0)
    # One uniform offset a row and equal steps: draws repeat a candidate no more than its weight asks for.
    points = (np.arange(draws) + np.random.default_rng([seed, 7]).random((count, 1))) / draws
    edges = weight.cumsum(1)
    picked = np.stack([np.searchsorted(e, p, side="right") for e, p in zip(edges, points, strict=True)])
    picked = np.minimum(picked, proposals - 1)
    order = np.random.default_rng([seed, 8]).permuted(picked, axis=1)
    start = np.arange(count) * proposals
    return [filled.rows(start + order[:, k]) for k in range(draws)], effective


def _proposed(
    joint: JointDensity, rows: Encoded, known: NDArray[np.bool_], seed: int
) -> tuple[Encoded, Array]:
    a, log_weight = rows.columns(joint.ordered), np.zeros(len(rows))
    # Streams of their own: draws of b must not go with those of a.
    of_a, of_b, of_all = (int(s) for s in np.random.default_rng([seed, 9]).integers(2**62, size=3))
    if joint.mixed is not None:
        a, log_weight = joint.mixed.complete(a, known[:, joint.ordered], of_a)
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
    size = max(1, _ROOM // (proposals * rows.state.shape[1]))
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
