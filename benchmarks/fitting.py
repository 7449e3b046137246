"""Wall-clock of a fit to the held-out nats that the best peer reaches in its own training loop.

Each peer trains its RQ-spline couplings (FrEIA: affine ones, having no others) by the loop, batch size and
learning rate of its own documentation, and once more with batches of 512 rows, for the whole budget. The
target is the best that any of them ever saw on the held-out rows; their clocks stand still while these are
measured. Then ``diffeo.fit`` runs with its defaults, with time budgets from a sixteenth of theirs on, each
twice the one before, until one reaches the target. Its clock is the wall's, from the call on. So does
``diffeo.FlowDensity``, which chooses the flow itself.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.libraries import FITS, PEERS
from benchmarks.tables import Table
from benchmarks.workers import Handle, asked

Result = dict[str, Any]


def measured(
    table: tuple[str, Table],
    names: Sequence[str],
    seconds: float,
    batches: Sequence[int | None],
    device: str,
    threads: int | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return for a table, (name, (train, held)), what each library reached and when."""
    name, (train, held) = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npz"
        np.savez(path, train=train, held=held)
        case = Case("fit", "spline", features=train.shape[1], device=device)
        fitted = partial(_fitted, name, case, path, threads, say)
        peers = {
            peer: _best([fitted(peer, seconds, batch) for batch in batches])
            for peer in names
            if peer in PEERS
        }
        reached = [result["nats"] for result in peers.values() if "nats" in result]
        own = ("diffeo", *(FITS if device == "cpu" else ())) if reached else ()  # the estimator has no GPU
        ours = {each: _ours(partial(fitted, each), seconds, max(reached)) for each in own}
    return {
        "table": name,
        "rows": len(train),
        "held": len(held),
        "columns": train.shape[1],
        "budget": seconds,
        "batches": list(batches),
        "target": max(reached, default=None),
        "results": {**ours, **peers},
    }


def _fitted(
    table: str,
    case: Case,
    path: Path,
    threads: int | None,
    say: Callable[[str], None],
    library: str,
    seconds: float,
    batch: int | None = None,
) -> Result:
    """Return what a library reaches on a table within a budget."""
    say(f"fit: {table}, {library}, {seconds:.3g} s, batch {batch or 'documented'}")
    worker = Handle(library, threads)
    case = replace(case, law="affine") if library == "FrEIA" else case
    request = {"op": "fit", "case": asked(case), "rows": str(path), "seconds": seconds, "batch": batch}
    answer = worker.ask(request, 4 * seconds + 300)
    worker.close()
    trace = [(s, nats) for s, nats in answer.get("trace", []) if math.isfinite(nats)]
    if "trace" not in answer:
        return answer
    if not trace:
        return {"error": "no finite held-out density"}
    at, nats = max(trace, key=lambda point: point[1])
    return {"nats": nats, "at": at, "batch": batch, "budget": seconds, "trace": trace}


def _best(results: list[Result]) -> Result:
    finished = [result for result in results if "nats" in result]
    return max(finished, key=lambda result: result["nats"]) if finished else results[0]


def _ours(fitted: Callable[..., Result], seconds: float, target: float) -> Result:
    """Return the first of the growing budgets that reaches the target, or the last."""
    result: Result = {}
    for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0):
        result = fitted(seconds * share)
        if "trace" not in result:
            return result
        times = [s for s, nats in result["trace"] if nats >= target]
        if times:
            return {**result, "reached": times[0], "ratio": times[0] / seconds}
    return result
