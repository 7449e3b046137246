"""More rows for a mixture that was fitted: flows go on from their weights, the rest is fitted anew."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffeo.bijections import Bijection, Standardize
from diffeo.distributions import FullMixture
from diffeo.estimator.fitting import PATIENCE, Clock, Entry, classical_entries, exact, held_of
from diffeo.estimator.members import Members
from diffeo.estimator.portfolio import Candidate, habits
from diffeo.estimator.table import Table
from diffeo.estimator.training import Report, train
from diffeo.estimator.views import Array
from diffeo.flows import Flow

Index = NDArray[np.int64]


def refined_entries(
    model: Members,
    x: Array,
    folds: Sequence[tuple[Index, Index]],
    context: Array | None,
    clock: Clock,
    seed: int,
    report: Report,
) -> tuple[list[Entry], Table]:
    """Return the members of ``model`` fitted to more rows, and the rows.

    A flow of fold k goes on in fold k; where there are more folds than flows they take turns, and each fold
    trains a copy.
    """
    views = {_kind(model.view(k)): model.view(k) for k in range(len(model.flows))}
    table = Table(
        x, folds, context, None, None, seed, {k: [v] * (len(folds) + 1) for k, v in views.items()}
    )
    bases = [model.flow(model.flows_of(m)[0]).base for m in range(len(model.weights))]
    fixed = [base for base in bases if isinstance(base, FullMixture)]
    kinds = ["kernel"] * any(b.shared for b in fixed)
    kinds += ["mixture"] * any(len(b.get_buffer("loc")) > 1 and not b.shared for b in fixed)
    entries = classical_entries(table, kinds, clock, seed, report, list(views))
    moving = [m for m, base in enumerate(bases) if not isinstance(base, FullMixture)]
    for count, member in enumerate(moving):
        places = model.flows_of(member)
        trained: list[Flow] = []
        found_views: list[Bijection] = []
        held: list[Array] = []
        for fold in range(len(folds)):
            place = places[fold % len(places)]
            view = model.view(place)
            own = Table(x, folds, context, None, None, seed, {"own": [view] * (len(folds) + 1)})
            waiting = (len(moving) - count) * len(folds) - fold
            candidate = Candidate(model.names[member], "own", 1, 1, **habits(len(folds[fold][0])))
            seconds = 0.9 * clock.left / waiting
            start = copy.deepcopy(model.flow(place)).float()  # the old density stays as it is
            found = train(
                candidate,
                own.pair("own", fold),
                seconds,
                seed + fold,
                start,
                patience=PATIENCE if len(folds) > 1 else None,
                steps=clock.steps,
            )
            flow = exact(
                own, "own", fold, start if found is None else found.flow, report, candidate.architecture
            )
            trained.append(flow)
            found_views.append(view)
            held.append(held_of(own, "own", fold, flow))
        name = model.names[member]
        entries.append(Entry(name, "flow", trained, found_views, np.concatenate(held)))
        report(f"{name}: {float(np.mean(entries[-1].held)):.3f} nats, going on")
    return entries, table


def _kind(view: Bijection) -> str:
    return "standard" if isinstance(view, Standardize) else "gaussian"
