"""Measure densities of real tables: diffeo beside its peers, and write the page.

    make bench-tables                                  # everything: many hours; go on with the same command
    make bench-tables QUICK=1                          # some small sets, one seed, five seconds a fit
    make bench-tables DATA=~/tables ONLY="power higgs" BUDGET=60 SEEDS=5
    python -m benchmarks.density.run --methods diffeo mixture --again diffeo

Fits are appended to results/tables/<machine>.jsonl as they end; those that stand there are not done again
(unless --again names their method). The page and its figures go to benchmarks/results/tables-<machine>.md
and .json. Every fit has a process of its own, one at a time, on all cores. Leave the machine alone
meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.density.journal import Journal, Record
from benchmarks.density.methods import ASKED, NATIVE, NUMERIC
from benchmarks.density.page import page
from benchmarks.density.protocol import Prepared, Unusable, prepared, sizes, split
from benchmarks.density.sets import Source, sources
from diffeo.friends.units import Units

ROOT = Path(__file__).parents[2]
RESULTS, JOURNALS = ROOT / "benchmarks" / "results", ROOT / "results" / "tables"

#: Sets of the quick mode.
QUICK = ("iris", "wine", "diabetes", "uci concrete", "uci winequality-red", "earth quakes_all")


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.density.run", description=__doc__.splitlines()[0]
    )
    known = sorted({source.name for source in sources()})
    parser.add_argument("--quick", action="store_true", help="some small sets, one seed, five seconds")
    parser.add_argument("--data", type=Path, default=None, help="folder of tables; or DIFFEO_DATA")
    parser.add_argument("--download", action="store_true", help="first fetch published sets into --data")
    parser.add_argument("--only", nargs="+", default=None, help="names of sets, or how they begin")
    parser.add_argument("--part", choices=("numeric", "native"), default=None, help="one part only")
    parser.add_argument("--methods", nargs="+", default=None, choices=[*NUMERIC, *ASKED, "marginals"])
    parser.add_argument("--again", nargs="+", default=[], help="methods whose fits are done again")
    parser.add_argument("--budget", type=float, default=None, help="seconds of each fit (30)")
    parser.add_argument("--seeds", type=int, default=None, help="splits of each set (5)")
    parser.add_argument("--threads", type=int, default=None, help="processors; all cores if not given")
    parser.add_argument("--journal", type=Path, default=None, help="file that fits are appended to")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for what is written")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page anew")
    options = parser.parse_args(given)
    if options.data is None and os.environ.get("DIFFEO_DATA"):
        options.data = Path(os.environ["DIFFEO_DATA"])
    if options.download and options.data is None:
        parser.error("--download needs --data or DIFFEO_DATA: the folder that the sets go to.")
    unknown = [w for w in options.only or [] if not any(name.startswith(w) for name in known)]
    if unknown:
        parser.error(f"--only {' '.join(unknown)}: no such set. Known: {', '.join(known)}.")
    options.budget = options.budget or (5.0 if options.quick else 30.0)
    options.seeds = options.seeds or (1 if options.quick else 5)
    if options.quick and options.only is None:
        options.only = QUICK
    return options


@dataclass(frozen=True)
class Task:
    """One set and what is known of it."""

    source: Source
    rows: Any
    about: dict[str, Any]


class Run:
    """One run: sets, seeds, methods, in this order, so that each set is read once."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.begun = options, time.perf_counter()
        self.facts = machine.facts()
        name = machine.slug(self.facts) + ("-quick" if options.quick else "")
        self.journal = Journal(options.journal or JOURNALS / f"{name}.jsonl")
        self.name = f"tables-{name}"
        self.skipped: dict[str, str] = {}
        self.done: set[tuple[Any, ...]] = set()

    def say(self, text: str) -> None:
        """Tell on standard error where the run is."""
        print(f"[{time.perf_counter() - self.begun:6.0f} s] {text}", file=sys.stderr, flush=True)

    def chosen(self) -> list[Source]:
        """Return the sets that are wanted and lie here; name the others loudly."""
        found: list[Source] = []
        for source in sources():
            only, part = self.options.only, "native" if source.native else "numeric"
            asked = source.asked and source.name not in (only or ())
            if asked or self.options.part not in (None, part):
                continue
            if only is not None and not any(source.name.startswith(name) for name in only):
                continue
            if source.lies_in(self.options.data):
                found.append(source)
            else:
                where = "in the folder" if self.options.data else "without a folder (--data or DIFFEO_DATA)"
                self._skip(source, part, f"{source.file} is not there {where}")
        return found

    def measure(self) -> None:
        """Do every fit that the journal does not have, and write the page after each set."""
        for source in self.chosen():
            part = "native" if source.native else "numeric"
            methods = [m for m in self._methods(source) if self._open(source, part, m)]
            if not methods:
                continue
            try:
                task = _task(source, self.options.data)
            except Unusable as error:
                self._skip(source, part, str(error))
                continue
            for seed in range(self.options.seeds):
                self._seed(task, part, seed, methods)
            self.write()

    def write(self) -> Path:
        """Write the page and its figures; return the page's path."""
        budget = self.options.budget
        records = [r for r in self.journal.records() if r["budget"] == budget]
        report = {
            "machine": self.facts,
            "budget": budget,
            "threads": self.options.threads or machine.cores(),
            "skipped": self.skipped,
            "records": records,
        }
        self.options.output.mkdir(parents=True, exist_ok=True)
        path = self.options.output / f"{self.name}.md"
        path.write_text(page(report), "utf-8")
        path.with_suffix(".json").write_text(json.dumps(report, allow_nan=False) + "\n", "utf-8")
        return path

    def _skip(self, source: Source, part: str, why: str) -> None:
        self.skipped[f"{source.name} ({part})"] = why
        self.say(f"SKIPPED {source.name} ({part}): {why}")

    def _methods(self, source: Source) -> list[str]:
        known = list(NATIVE if source.native else NUMERIC)
        if self.options.methods is None:
            return known
        every = known if source.native else [*known, *ASKED]
        return [name for name in every if name in self.options.methods]

    def _open(self, source: Source, part: str, method: str) -> bool:
        seeds = range(self.options.seeds)
        return any(not self._over(self._name(part, source, seed, method)) for seed in seeds)

    def _name(self, part: str, source: Source, seed: int, method: str) -> Record:
        return {
            "part": part,
            "set": source.name,
            "seed": seed,
            "method": method,
            "budget": self.options.budget,
        }

    def _over(self, name: Record) -> bool:
        again = name["method"] in self.options.again and tuple(name.values()) not in self.done
        return self.journal.has(name) and not again

    def _seed(self, task: Task, part: str, seed: int, methods: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            kept: dict[str, Any] = {}
            for method in methods:
                name = self._name(part, task.source, seed, method)
                if self._over(name):
                    continue
                kept = kept or _kept(task, seed, Path(folder))
                busy = machine.busy()
                answer = self._asked(method, Path(folder), seed)
                self.done.add(tuple(name.values()))
                version = self.facts["versions"].get("diffeo", "")
                self.journal.append(
                    {**name, **task.about, **kept, **answer, "busy": busy, "version": version}
                )
                self.say(f"{task.source.name}, seed {seed}, {method}: {_said(answer)}")

    def _asked(self, method: str, folder: Path, seed: int) -> dict[str, Any]:
        """Return the answer of a process of its own; one that takes far too long is ended."""
        budget = self.options.budget
        limit, out = 3 * budget + 300, folder / "answer.json"
        out.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.density.worker"]
        command += [method, str(folder), str(budget), str(seed)]
        with tempfile.TemporaryFile("w+", errors="replace") as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=machine.environment(self.options.threads),
                start_new_session=True,
            )
            try:
                process.wait(limit)
            except subprocess.TimeoutExpired:
                return {"error": f"timeout: not over within {limit:.0f} s"}
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if out.exists():
                return json.loads(out.read_text("utf-8"))
            log.seek(0)
            last = [line for line in log.read().splitlines() if line.strip()][-1:]
        told = last[0][:200] if last else "without a word"
        return {"error": f"the process ended with {process.returncode}: {told}"}


def _task(source: Source, folder: Path | None) -> Task:
    rows = source.read(folder or Path())
    if source.native:
        return Task(
            source, rows, {"columns": rows.width, "said": "", "dropped": {}, "spread": 0, "fixed": False}
        )
    made = prepared(rows)
    return Task(source, made, {"columns": made.table.x.shape[1], **_about(made)})


def _about(made: Prepared) -> dict[str, Any]:
    return {
        "dropped": {why: list(names) for why, names in made.dropped.items()},
        "spread": len(made.spread),
        "said": made.table.said,
        "fixed": made.table.parts is not None,
    }


def _kept(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Write the parts of a seed for the workers; return their sizes and the shift to the units stated."""
    if task.source.native:
        train, validation, test = sizes(len(task.rows))
        rows = task.rows[np.random.default_rng(1_000 + seed).permutation(len(task.rows))]
        rows[: train + validation].write_parquet(folder / "train.parquet")
        rows[train + validation :].write_parquet(folder / "test.parquet")
        return {"train": train, "validation": validation, "test": test, "shift": 0.0}
    parts = split(task.rows.table, seed)
    np.savez(folder / "parts.npz", train=parts.train, validation=parts.validation, test=parts.test)
    shift = 0.0 if task.rows.table.published else -Units.of(parts.train).log_det
    return {
        "train": len(parts.train),
        "validation": len(parts.validation),
        "test": len(parts.test),
        "shift": shift,
    }


def _said(answer: dict[str, Any]) -> str:
    if "fit_seconds" not in answer:
        return str(answer.get("error") or answer.get("missing"))
    lost = answer["impossible"] + answer["undefined"]
    rows = f", {lost} rows without a finite log-density" if lost else ""
    mean = answer["finite_nats"]
    nats = "no nats" if mean is None else f"{mean:.4f} nats"
    return f"{nats} in the data's units{rows}, {answer['fit_seconds']:.1f} s"


def steps(options: argparse.Namespace) -> Iterator[str]:
    """Do what the options ask for; yield what is to be printed."""
    if options.download:
        from benchmarks.density.sets.published import fetch_all

        yield from fetch_all(options.data)
    run = Run(options)
    if not options.page_only:
        run.measure()
    path = run.write()
    yield path.read_text("utf-8")
    yield f"written: {path} and {path.with_suffix('.json').name}; fits are in {run.journal.path}"


def main(given: Sequence[str] | None = None) -> int:
    """Measure, write and print."""
    for text in steps(arguments(given)):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
