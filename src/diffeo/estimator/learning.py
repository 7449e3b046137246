"""From a table to its density: schema, rows and their weights, folds, the time there is, the fit."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.estimator.budget import budget_for, held_in, splits_in
from diffeo.estimator.fitted import Fitted, encoded, refuse_impossible, schemas_of, variables_of
from diffeo.estimator.folds import ENOUGH, are_counts, weighted_rows
from diffeo.estimator.inputs import numbered_as, rows_at, weights_of
from diffeo.estimator.joint import JointDensity, Settings
from diffeo.estimator.seen import Seen, continuous_of, copies_of, has_number
from diffeo.estimator.told import Told
from diffeo.tables.schema import Schema


@dataclass(frozen=True)
class Plan:
    """What was asked for; ``begun`` is when, by :func:`time.perf_counter`."""

    architecture: str
    time_budget: float | None
    max_steps: int | None
    kinds: Mapping[Any, Any] | Schema
    first: Sequence[Any]
    seed: int
    begun: float


def learnt(
    table: Any,
    context: Any,
    sample_weight: Any,
    plan: Plan,
    told: Told,
    *,
    density: Fitted | None = None,
    last: Seen | None = None,
    add: bool = False,
) -> tuple[Fitted, Seen]:
    """Return the density of a table, and the rows that it has seen.

    Args:
        table: rows as :func:`~diffeo.estimator.inputs.checked` returns them.
        context: of as many rows, or None.
        sample_weight: of the rows, or None.
        plan: what was asked for.
        told: is told what is tried and chosen.
        density: what was learnt before, to go on from; None: a first fit.
        last: the rows that it saw, if they are known; rows stay on their side of its splits.
        add: whether those are trained on too.
    """
    weights, used = weights_of(sample_weight, table.shape[0]), None
    if weights is not None and not weights.all():  # a row of no weight says nothing of any column
        used = np.flatnonzero(weights)
        table, context, weights = rows_at(table, used), rows_at(context, used), weights[used]
    with numbered_as(used):
        if density is not None:
            schema, context_schema = density.schema, density.context_schema
        else:
            schema, context_schema = _schemas(table, context, weights, plan)
            told(str(schema))
        rows = encoded(schema, context_schema, table, context, used)
    variables = variables_of(schema, context_schema)
    if density is not None or isinstance(plan.kinds, Schema):
        remedy = "leave such rows out, or fit anew with all rows"
        refuse_impossible(rows.state < 0, variables, "X", remedy, used)
    continuous, index, counted = continuous_of(variables), None, None
    if weights is not None:
        index = weighted_rows(weights, plan.seed, rows.state.shape[1])
        counted = ~has_number(rows, continuous) if are_counts(weights) else None
    columns, budget = rows.state.shape[1], budget_for(rows, plan.time_budget, plan.max_steps)
    splits, most = splits_in(columns, budget), held_in(columns, budget)
    if last is not None:  # what was trained on is not held out in a longer fit
        most = min(most, max(len(held) for _, held in last.folds))
    seen = Seen.of(rows, index, plan.seed, splits, most, copies_of(rows, continuous), counted)
    if splits == 1 and len(seen.rows) < ENOUGH:
        told("one split of the rows in place of five folds: these would take the time; give more")
    if last is not None:
        seen = last.and_more(seen, continuous) if add else seen.like(last, continuous)
    budget = budget_for(seen.rows, plan.time_budget, plan.max_steps)
    if math.isfinite(budget):
        budget = max(budget - (time.perf_counter() - plan.begun), 0.1 * budget)
    settings = Settings(plan.architecture, budget, plan.max_steps, plan.seed)
    if density is not None:
        joint, held = density.joint.refine(seen.rows, seen.folds, settings, report=told)
    else:
        given = len(variables) - len(schema.variables)
        first = len(set(plan.first))
        joint, held = JointDensity.fit(
            variables, seen.rows, seen.folds, settings, given=given, first=first, report=told
        )
    return Fitted(schema.detached(), context_schema, joint, np.sort(held)), seen


def _schemas(
    table: Any, context: Any, weights: NDArray[np.float64] | None, plan: Plan
) -> tuple[Schema, Schema | None]:
    """Return the schemas of a table and its context, each row counted as its weight says, at least once."""
    if weights is None or bool((weights == 1).all()):
        return schemas_of(table, context, plan.kinds, plan.first)
    often = weighted_rows(weights, plan.seed, table.shape[1])
    every = np.sort(np.concatenate([often, np.setdiff1d(np.arange(len(weights)), often)]))
    with numbered_as(every):
        return schemas_of(rows_at(table, every), rows_at(context, every), plan.kinds, plan.first)
