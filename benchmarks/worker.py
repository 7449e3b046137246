"""One process, one library: it is sent a request a line, and answers with a line, both JSON.

    python -m benchmarks.worker zuko          # or `zuko 1`: on one processor

| request | answer |
| --- | --- |
| {"op": "prepare", "case": {…}} | parameters, first_call (seconds, compilation included), window, … |
| {"op": "time", "windows": n} | seconds: one number a window, per run |
| {"op": "memory", "case": {…}, "steps": n} | bytes of a training step, see ``benchmarks.memory`` |
| {"op": "fit", "case": {…}, "rows": path, "seconds": s, "batch": b} | trace: [[seconds, nats], …] |

An answer may also be {"missing": why}, of a work that the library lacks, or {"error": what}.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import sys
import time
import warnings
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.libraries import ALL, Lacks, Library
from benchmarks.resident import Memory

#: Seconds that one window should take, and the most runs in it (as many steps as ``fit`` takes at once).
WINDOW, MOST = 0.25, 32

#: Seconds of warming up, after the first call.
WARM = 0.5

#: Seconds of a first call after which there is no warming up: the work itself is long.
LONG = 10.0


class Worker:
    """The library, and the case that it is prepared for."""

    def __init__(self, name: str) -> None:
        module, variant = ALL[name]
        self.adapter = importlib.import_module(f"benchmarks.libraries.{module}").Adapter
        self.variant = variant
        self.library: Library | None = None
        self.case = Case("train")
        self.runs = 1

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        if request["op"] == "time":
            return self.time(request["windows"])
        self.library = None
        gc.collect()
        self.case = Case(**request["case"])
        if request["op"] == "prepare":
            return self.prepare()
        if request["op"] == "memory":
            return self.memory(request["steps"])
        return self.fit(request["rows"], request["seconds"], request["batch"])

    def _built(self) -> Library:
        library = self.adapter(self.variant)
        library.build(self.case)
        return library

    def prepare(self) -> dict[str, Any]:
        """Build, run once (which compiles where something compiles), warm up, and choose the window."""
        library = self.library = self._built()
        first, _ = _seconds(library, self.case, 1)
        spent, each = 0.0, first
        for k in range(8 if first < LONG else 0):
            each, _ = _seconds(library, self.case, 1)
            spent += each
            if spent > WARM and k:
                break
        self.runs = min(MOST, max(1, round(WINDOW / each)))
        if self.runs > 1 and each * self.runs < 2:
            _seconds(library, self.case, self.runs)
        gc.collect()
        return {
            "parameters": library.parameters(),
            "first_call": first,
            "each": each,
            "window": self.runs,
            "differs": library.differs,
            "precision": library.precision,
        }

    def time(self, windows: int) -> dict[str, Any]:
        """Return the seconds of one run, from each of a number of windows."""
        assert self.library is not None
        found = [_seconds(self.library, self.case, self.runs) for _ in range(windows)]
        return {"seconds": [s for s, _ in found], "finite": all(math.isfinite(a) for _, a in found)}

    def memory(self, steps: int) -> dict[str, Any]:
        """Return what training steps take."""
        library = self._built()
        meter = Memory(self.case.device)
        meter.before()
        first, _ = _seconds(library, self.case, 1)
        _seconds(library, self.case, 1)
        meter.between()
        seconds = [_seconds(library, self.case, 1)[0] for _ in range(steps)]
        return {
            **meter.after(),
            "state": 3 * 4 * library.parameters(),
            "seconds": float(np.median(seconds)),
            "first_call": first,
        }

    def fit(self, path: str, seconds: float, batch: int | None) -> dict[str, Any]:
        """Return the trace of a fit to the rows of a file."""
        library = self._built()
        with np.load(path) as rows:
            train, held = rows["train"], rows["held"]
        begun = time.perf_counter()
        trace = [[s, nats] for s, nats in library.fit(train, held, seconds, batch)]
        return {"trace": trace, "seconds": time.perf_counter() - begun}


def _seconds(library: Library, case: Case, times: int) -> tuple[float, float]:
    begun = time.perf_counter()
    answer = library.run(case, times)
    return (time.perf_counter() - begun) / times, answer


def main() -> None:
    """Answer requests until there are no more."""
    if len(sys.argv) > 2:
        # Not every library reads the same variable: so many processors, and no more, for all of them.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(sys.argv[2]) :])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not stand among the answers
    warnings.simplefilter("ignore")

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        worker = Worker(sys.argv[1])
    except Exception as error:
        say({"error": _told(error)})
        return
    say({"ready": True})
    for line in sys.stdin:
        try:
            say(worker.answer(json.loads(line)))
        except Lacks as lacks:
            say({"missing": str(lacks)})
        except Exception as error:
            say({"error": _told(error)})


def _told(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


if __name__ == "__main__":
    main()
