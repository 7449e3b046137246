"""Fitting the members: the classical ones first, then flows, each with its held-out log-densities."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from diffeo.bijections import Bijection, Identity
from diffeo.distributions import FullMixture
from diffeo.estimator.classical import Fitted, fit_gaussian, fit_mixture
from diffeo.estimator.halving import Run, nats_of, race
from diffeo.estimator.kernels import fit_kernel
from diffeo.estimator.portfolio import Candidate, portfolio
from diffeo.estimator.table import Table
from diffeo.estimator.training import FEWEST, Report, Trained, scored, train
from diffeo.estimator.views import Array, seen
from diffeo.flows import Flow
from diffeo.kernels.native import library

#: The share of the budget that classical members may take.
CLASSICAL_SHARE = 0.2

#: So many columns are few: kernels then come near any density, of many rows too.
FLAT, CLASSICAL_SHARE_FLAT = 3, 0.4

#: Rows up to which a kernel density is tried of more columns, unless it is asked for.
KERNEL_ROWS = 20_000

#: Evaluations without gain after which a fold's flow stops.
PATIENCE = 15

#: How often the best flow of the first fold may go on with less noise, how much less, and the nats that
#: it is to gain by it.
QUIETER, LESS, WORTH = 2, 5.0, 0.02

#: Seconds that a fold's flow takes to be made, trained a little and scored, at least.
SHORTEST = 0.12

#: The share of what is left that scoring the held-out rows may take.
SCORING = 0.06

#: A flow that is this many nats behind the best has no weight, and is not scored.
FAR_BEHIND = 3.0

#: A flow whose log-densities in float32 are this far off, in nats, is kept in float64.
ROUNDING = 1e-2


@dataclass(frozen=True)
class Entry:
    """A member as it was fitted.

    Attributes:
        name: for people.
        kind: "gaussian", "mixture", "kernel" or the architecture of a flow.
        flows: one, or one for each fold.
        views: the view of each flow.
        held: log-densities of the held-out rows of all folds, each by a model that was not trained on it.
    """

    name: str
    kind: str
    flows: list[Flow]
    views: list[Bijection]
    held: Array


@dataclass(frozen=True)
class Clock:
    """How long a fit may take.

    Attributes:
        begun: when it began.
        budget: seconds, which may be infinite.
        steps: of each training, if the clock is not to decide.
    """

    begun: float
    budget: float
    steps: int | None

    @property
    def left(self) -> float:
        """Return the seconds that are left; infinitely many where steps are counted."""
        if self.steps is not None:
            return math.inf
        return max(0.0, self.budget - (time.perf_counter() - self.begun))


def classical_entries(
    table: Table,
    kinds: Sequence[str],
    clock: Clock,
    seed: int,
    report: Report,
    views: Sequence[str] | None = None,
) -> list[Entry]:
    """Return the Gaussian, and of ``kinds`` ("mixture", "kernel") those that the rows suffice for."""
    entries: list[Entry] = []
    views = table.kinds() if views is None else views
    counted = clock.steps is not None
    for place, view in enumerate(views):
        share = CLASSICAL_SHARE_FLAT if table.columns <= FLAT else CLASSICAL_SHARE
        seconds = share * min(clock.left, 600.0) / (len(views) - place)
        begun = time.perf_counter()
        rows = table.classical(view, math.inf if counted else seconds)

        def add(kind: str, fitted: Fitted, view: str = view) -> None:
            name = (
                f"{kind} of {fitted.text}, {view} view" if kind != "gaussian" else f"gaussian, {view} view"
            )
            entries.append(Entry(name, kind, [_flow_of(fitted.base)], [table.view(view, -1)], fitted.held))
            report(f"{name}: {_mean(fitted.held):.3f} nats")

        gaussian, ridge = fit_gaussian(rows)
        add("gaussian", gaussian)
        left = math.inf if counted else max(seconds - (time.perf_counter() - begun), 0.1 * seconds)
        many = table.columns > FLAT and table.rows > KERNEL_ROWS and len(kinds) > 1
        if "kernel" in kinds and many:
            report(
                f"no kernel density, {view} view: {table.rows:,} rows of {table.columns} columns are many"
            )
        elif "kernel" in kinds:
            kernel = fit_kernel(rows, ridge, left / len(kinds), seed)
            if kernel is not None:
                add("kernel", kernel)
            else:
                report(f"no kernel density, {view} view: {left / len(kinds):.2f} s are too few for it")
        if "mixture" in kinds:
            left = math.inf if counted else max(seconds - (time.perf_counter() - begun), 0.1 * seconds)
            mixture = fit_mixture(rows, ridge, left, seed)
            if mixture is not None:
                add("mixture", mixture)
            else:
                report(f"no mixture, {view} view: rows or time do not suffice for two components")
    return entries


def _flow_of(base: FullMixture) -> Flow:
    return Flow(base, Identity()).double().eval()


def flow_entries(table: Table, architecture: str, clock: Clock, seed: int, report: Report) -> list[Entry]:
    """Return the flows, as many as the rows and the time allow."""
    if table.rows < FEWEST:
        report(f"no flow: {table.rows} training rows are fewer than {FEWEST}")
        return []
    library()  # compiled once on a machine, before any flow is timed
    found = portfolio(table.rows, table.columns, table.features, clock.left, table.kinds(), architecture)
    if len(table.folds) > 1:
        return _folded(table, found, clock, seed, report)
    pairs = {candidate.view: table.pair(candidate.view, 0) for candidate in found}
    seconds = clock.left
    if clock.steps is None:
        seconds -= max(SCORING * seconds, _scoring(table, found[0]))
    runs = race(found, pairs, seconds, seed, report, clock.steps)
    best = max((run.trained.nats for run in runs), default=0.0)
    return [_raced(table, run, report) for run in runs if run.trained.nats > best - FAR_BEHIND]


def _scoring(table: Table, candidate: Candidate) -> float:
    """Return the seconds that scoring the held-out rows takes, by those that are watched: of two flows."""
    pair = table.pair(candidate.view, 0)
    with torch.random.fork_rng(devices=[]):
        flow = candidate.build(table.columns, table.features).eval()
    scored(flow, pair.watched[:2], _first(pair.watched_context, 2))  # the first time takes longer
    begun = time.perf_counter()
    scored(flow, pair.watched, pair.watched_context)
    return 2 * (time.perf_counter() - begun) * len(table.folds[0][1]) / len(pair.watched)


def _raced(table: Table, run: Run, report: Report) -> Entry:
    """Return a member of one flow."""
    candidate, flow = run.candidate, run.trained.flow
    flow = exact(table, candidate.view, 0, flow, report, candidate.name)
    held = held_of(table, candidate.view, 0, flow)
    return Entry(candidate.name, candidate.architecture, [flow], [table.view(candidate.view, 0)], held)


def _folded(
    table: Table, candidates: Sequence[Candidate], clock: Clock, seed: int, report: Report
) -> list[Entry]:
    """Return members of one flow a fold.

    Every candidate is trained on the first fold, and the best of them goes on there with less noise, as
    long as that gains. What it was then is trained on the other folds; after it the next best, while there
    is time: what stops early leaves its time to those after it.
    """
    rest = len(table.folds) - 1
    if clock.steps is None:
        most = max(0, int(clock.left / SHORTEST) - rest)
        if most < len(candidates):
            report(f"{clock.left:.1f} s for flows of {rest + 1} folds: {most} of them are tried")
        candidates = candidates[:most]
    tried: list[Run] = []
    for place, candidate in enumerate(candidates):
        share = 0.9 * clock.left / (len(candidates) - place + 1 + rest)
        found = _on_fold(table, candidate, 0, share, clock, seed)
        if found is None:
            report(f"{candidate.name}: training gave up")
        else:
            tried.append(Run(candidate, found))
    tried.sort(key=nats_of, reverse=True)
    tried[:1] = [_quieter(table, run, rest, clock, seed, report) for run in tried[:1]]
    entries: list[Entry] = []
    for run in tried:
        candidate, flows = run.candidate, [run.trained.flow]
        if entries and 0.9 * clock.left < rest * run.trained.seconds:
            report(f"{candidate.name}: {run.trained.nats:.3f} nats on one fold, no time for the others")
            continue
        for fold in range(1, rest + 1):
            share = 0.9 * clock.left / (rest + 1 - fold)
            found = _on_fold(table, candidate, fold, share, clock, seed)
            if found is None:
                report(f"{candidate.name}: training gave up")
                break
            flows.append(found.flow)
        else:
            entries.append(_entry_of_folds(table, candidate, flows, report))
    return entries


def _quieter(table: Table, run: Run, rest: int, clock: Clock, seed: int, report: Report) -> Run:
    """Return what has come furthest on the first fold: the run, or it gone on with less noise."""
    for _ in range(QUIETER):
        quiet = replace(run.candidate, noise=run.candidate.noise / LESS)
        share = 0.9 * clock.left / (1 + rest)
        found = _on_fold(table, quiet, 0, share, clock, seed, run.trained.flow)
        if found is None or found.nats < run.trained.nats + WORTH:
            break
        report(f"{quiet.name}: noise of {quiet.noise:.2g} gains {found.nats - run.trained.nats:.3f} nats")
        run = Run(quiet, found)
    return run


def _on_fold(
    table: Table,
    candidate: Candidate,
    fold: int,
    seconds: float,
    clock: Clock,
    seed: int,
    start: Flow | None = None,
) -> Trained | None:
    pair = table.pair(candidate.view, fold)
    return train(candidate, pair, seconds, seed + fold, start, PATIENCE, clock.steps)


def _entry_of_folds(table: Table, candidate: Candidate, flows: list[Flow], report: Report) -> Entry:
    view = candidate.view
    flows = [exact(table, view, k, flow, report, candidate.name) for k, flow in enumerate(flows)]
    held = np.concatenate([held_of(table, view, k, flow) for k, flow in enumerate(flows)])
    report(f"{candidate.name}: {_mean(held):.3f} nats, out of {len(flows)} folds")
    views = [table.view(view, k) for k in range(len(flows))]
    return Entry(candidate.name, candidate.architecture, flows, views, held)


def held_of(table: Table, view: str, fold: int, flow: Flow) -> Array:
    """Return log-densities of a fold's held-out rows, in the data's units."""
    _, held = table.folds[fold]
    u, log_det = seen(table.view(view, fold), table.x, np.float64, held)
    return scored(flow, torch.from_numpy(u).to(flow.dtype), table.contexts(held, flow.dtype)) + log_det


def exact(table: Table, view: str, fold: int, flow: Flow, report: Report, name: str) -> Flow:
    """Return the flow, or the same in float64 where float32 is not enough for its log-densities."""
    pair = table.pair(view, fold)
    rows, context = pair.watched[:256], _first(pair.watched_context, 256)
    double = copy.deepcopy(flow).double()
    other = scored(double, rows.double(), None if context is None else context.double())
    off = np.abs(scored(flow, rows, context) - other)
    if not np.nanmax(off, initial=0.0) > ROUNDING:
        return flow
    report(f"{name}: float32 is off by up to {np.nanmax(off):.2g} nats, so it is kept in float64")
    return double


def _first(context: Tensor | None, count: int) -> Tensor | None:
    return None if context is None else context[:count]


def _mean(held: Array) -> float:
    return float(np.mean(held))
