"""One case in all libraries: prepared one after the other, then timed in turns."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.cases import Case
from benchmarks.figures import summary
from benchmarks.workers import Handle, asked

#: Seconds that a library may take to compile and run a case once or twice.
PATIENCE = 900.0

#: Seconds after which a library that had three rounds gets no more; twice as many, one that had any.
BUDGET = 60.0


def measured(
    case: Case, workers: dict[str, Handle], rounds: int, patience: float = PATIENCE
) -> dict[str, Any]:
    """Return a case's figures in each library.

    Only one process works at a time. Each round lets every library run one window, some 0.25 s, in an order
    that rotates from round to round, so that whatever disturbs the machine disturbs all of them. Where one
    run takes minutes there are fewer rounds; n says how many.
    """
    results: dict[str, dict[str, Any]] = {}
    for name, worker in workers.items():
        results[name] = worker.ask({"op": "prepare", "case": asked(case)}, patience)
        if "error" in results[name]:
            worker.close()  # whatever state it is in
    running = [name for name, found in results.items() if "each" in found]
    seconds: dict[str, list[float]] = {name: [] for name in running}
    for k in range(rounds):
        turn = k % max(1, len(running))
        for name in running[turn:] + running[:turn]:
            found = results[name]
            spent = sum(seconds[name]) * found["window"]
            if "error" in found or spent > (BUDGET if k >= 3 else 2 * BUDGET):
                continue
            time.sleep(0.02)  # threads of the one before may still be spinning
            answer = workers[name].ask({"op": "time", "windows": 1}, patience)
            if "error" in answer:
                results[name] = answer
                continue
            seconds[name] += answer["seconds"]
            if not answer["finite"]:
                found["not_finite"] = True
    for name in running:
        if "error" not in results[name]:
            results[name].update(summary(seconds[name]))
            del results[name]["each"]
    return {"case": asked(case), "name": case.name, "results": results}
