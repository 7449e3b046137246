"""Memory of a training step, each in a fresh process.

Figures in bytes. ``peak``: the most that the process held since before its first step, less what it held
then; it has everything in it, compilation too, and of K layers also K gradients and twice K moments of Adam
(``state``), which no method of computing saves. ``step``: the most during a later step, less what the
process held between steps: the activations, and the gradients where a library frees them between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.cases import Case
from benchmarks.libraries import MEMORY
from benchmarks.workers import Handle, asked

MEBI = 2**20


def measured(
    cases: Sequence[Case],
    names: Sequence[str],
    steps: int,
    patience: float,
    threads: int | None,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Return for each case what each library takes."""
    found: list[dict[str, Any]] = []
    for case in cases:
        results: dict[str, dict[str, Any]] = {}
        say(f"memory: {case.name}")
        for name in names:
            worker = Handle(name, threads)
            results[name] = worker.ask({"op": "memory", "case": asked(case), "steps": steps}, patience)
            worker.close()
        found.append({"case": asked(case), "name": case.name, "results": results})
    return found


def ratios(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return for each library its deepest flow's figures over those of its shallowest.

    Constant memory also over the ordinary chain. With the ratio of times per layer, and the exponent a of
    (peak less state) ∝ Kᵃ between the two. A ratio that cannot be told is NaN.
    """
    if len(found) < 2:
        return {}
    shallow, deep = found[0], found[-1]
    pairs = {name: (result, deep["results"].get(name, {})) for name, result in shallow["results"].items()}
    for name in MEMORY:
        if name in pairs and "diffeo" in pairs:
            pairs[f"{name}, over diffeo"] = pairs["diffeo"][0], pairs[name][1]
    answer: dict[str, dict[str, float]] = {}
    for name, (few, many) in pairs.items():
        if "peak" in few and "peak" in many:
            layers = deep["case"]["layers"] / shallow["case"]["layers"]
            bare = [max(point["peak"] - point["state"], MEBI) for point in (few, many)]
            answer[name] = {
                "peak": many["peak"] / max(few["peak"], MEBI),
                "peak less state": bare[1] / bare[0],
                # Where a heap keeps what it freed, a later step seems to take nothing.
                "step": many["step"] / few["step"] if few["step"] > MEBI else math.nan,
                "time per layer": many["seconds"] / few["seconds"] / layers,
                "exponent in K": math.log(bare[1] / bare[0], layers),
            }
    return answer
