"""Memory of a training step, each in a fresh process.

Two figures, in bytes. ``peak``: the most that the process held since before its first step, less what it
held then; it has everything in it, compilation too, and with K layers also K gradients and twice K moments
of Adam (``state``), which no method of computing saves. ``step``: the most during a later step, less what
the process held between steps: the activations, which constant memory is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.cases import Case
from benchmarks.workers import Handle, asked


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
    """Return for each library its deepest flow's figures over those of its shallowest; time per layer."""
    if len(found) < 2:
        return {}
    shallow, deep = found[0], found[-1]
    answer: dict[str, dict[str, float]] = {}
    for name, few in shallow["results"].items():
        many = deep["results"].get(name, {})
        if "peak" in few and "peak" in many:
            layers = deep["case"]["layers"] / shallow["case"]["layers"]
            answer[name] = {
                "peak": many["peak"] / max(few["peak"], 1),
                "step": many["step"] / max(few["step"], 1),
                "time per layer": many["seconds"] / few["seconds"] / layers,
            }
    return answer
