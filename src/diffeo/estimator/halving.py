"""Which candidate gets the time: successive halving on held-out nats.

Each candidate is trained for a short time, with a learning rate that ends at zero, so that what is
compared are finished flows; the better half goes on from where it is with a new rate, for twice the time,
until one is left, which has the rest. Those that were left behind are densities too, and may have a
weight in the mixture.

Source: Jamieson & Talwalkar, *Non-stochastic best arm identification* (2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from diffeo.estimator.portfolio import Candidate
from diffeo.estimator.training import Pair, Report, Trained, train

#: The share of the time that choosing may take.
CHOOSING = 0.35

#: Where the first steps of a flow take more than this share of the time, no time is left to compare.
SHORT = 0.05

#: Steps of short fits, from which the time of a step is read: of the last one where steps are short.
TIMED = (2, 4, 12)

#: Steps that each candidate should have had when candidates are first compared.
COMPARED = 80


@dataclass(frozen=True)
class Run:
    """A candidate and how far it came."""

    candidate: Candidate
    trained: Trained


def race(
    candidates: Sequence[Candidate],
    rows: dict[str, Pair],
    seconds: float,
    seed: int,
    report: Report,
    steps: int | None = None,
) -> list[Run]:
    """Return every candidate as trained as it was, the best first; together they took ``seconds``.

    Args:
        candidates: what may be tried.
        rows: the rows by view.
        seconds: for all of it.
        seed: of everything random.
        report: told of each step.
        steps: if given, those of the last fit, and the clock says nothing.
    """
    begun = time.perf_counter()
    if steps is None and len(candidates) > 1:
        candidates = _affordable(candidates, rows, seconds, seed, report)
    runs: list[Run] = []
    going: list[Run | Candidate] = list(candidates)
    rounds = math.ceil(math.log2(len(candidates))) if len(candidates) > 1 else 0
    behind: list[Run] = []
    for k in range(rounds):
        share = CHOOSING * seconds / rounds / len(going)
        short = None if steps is None else max(1, steps // 4)
        tried = [_further(entry, rows, share, seed + k, report, short) for entry in going]
        runs = [run for run in tried if run is not None]
        runs.sort(key=nats_of, reverse=True)
        kept = max(1, math.ceil(len(runs) / 2))
        behind = [*runs[kept:], *behind]
        going = list(runs[:kept])
    if not going:
        return behind
    last = going[0]
    left = seconds - (time.perf_counter() - begun)
    final = _further(last, rows, left, seed + rounds, report, steps)
    if final is None:
        return behind if isinstance(last, Candidate) else [last, *behind]
    if isinstance(last, Run) and last.trained.nats > final.trained.nats:
        final = last
    return [final, *behind]


def _affordable(
    candidates: Sequence[Candidate], rows: dict[str, Pair], seconds: float, seed: int, report: Report
) -> Sequence[Candidate]:
    """Return as many candidates, the likeliest first, as there is time to compare after some steps each."""
    first = candidates[0]
    begun = time.perf_counter()
    train(first, rows[first.view], seconds, seed, steps=2)
    if (spent := time.perf_counter() - begun) > SHORT * seconds:
        report(f"{spent:.1f} s for two steps: 1 of {len(candidates)} flows is tried")
        return candidates[:1]
    step = _seconds_a_step(first, rows[first.view], seconds, seed)
    if not 0 < step < math.inf:
        return candidates
    most = int(CHOOSING * seconds / (COMPARED * step))
    if most < len(candidates):
        report(f"a step takes {1000 * step:.0f} ms: {max(1, most)} of {len(candidates)} flows are tried")
    return candidates[: max(1, most)]


def _seconds_a_step(candidate: Candidate, rows: Pair, seconds: float, seed: int) -> float:
    """Return the time of a step: what a fit takes before its first and after its last is in the difference.

    The more precise, the less of ``seconds`` it takes; NaN where training gave up.
    """
    least = TIMED[0]
    before = train(candidate, rows, seconds, seed, steps=least)
    step = math.nan
    for steps in TIMED[1:]:
        after = train(candidate, rows, seconds, seed, steps=steps)
        if before is None or after is None:
            return math.nan
        step = (after.seconds - before.seconds) / (steps - least)
        if TIMED[-1] * step > SHORT * seconds:
            break
    return step


def nats_of(run: Run) -> float:
    """Return the nats that a candidate reached on the watched rows."""
    return run.trained.nats


def _further(
    entry: Run | Candidate,
    rows: dict[str, Pair],
    seconds: float,
    seed: int,
    report: Report,
    steps: int | None,
) -> Run | None:
    candidate = entry if isinstance(entry, Candidate) else entry.candidate
    start = None if isinstance(entry, Candidate) else entry.trained.flow
    found = train(candidate, rows[candidate.view], seconds, seed, start, steps=steps)
    if found is None:
        report(f"{candidate.name}: training gave up")
        return None
    report(
        f"{candidate.name}: {found.nats:.3f} nats after {found.steps} {'' if start is None else 'more '}"
        f"steps in {found.seconds:.1f} s"
    )
    return Run(candidate, found)
