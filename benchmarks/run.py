"""Measure diffeo beside its peers, and write the figures.

    make bench                        # everything: some hours
    make bench QUICK=1                # a spread of everything, under ten minutes
    python -m benchmarks.run --only speed --libraries diffeo zuko --match "MAF"
    python -m benchmarks.run --gpu    # the same on a GPU; torch peers get TF32

Writes benchmarks/results/<machine>.json, .md and .png (…-quick, …-gpu). Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import cases, fitting, machine, memory, timing
from benchmarks.libraries import FLOORS, LIBRARIES, MEMORY
from benchmarks.page import page
from benchmarks.tables import tables
from benchmarks.workers import handles

PARTS = ("speed", "memory", "growth", "fits")
#: Seconds that a part of the quick mode may take: it begins no case after them, and says which it left out.
QUICK = {"speed": 300.0, "growth": 75.0}

#: The libraries whose memory, growth and fits the quick mode measures.
FEW = ("diffeo", "zuko", "nflows", "flowjax")

RESULTS = Path(__file__).parent / "results"
FORMAT = 1

Item = TypeVar("Item")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, rounds and rows")
    parser.add_argument("--gpu", action="store_true", help="on the GPU that torch sees")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--libraries", nargs="+", choices=list(LIBRARIES), default=list(LIBRARIES))
    parser.add_argument("--match", default="", help="only cases whose name has this in it")
    parser.add_argument("--rounds", type=int, default=None, help="windows of each library and case")
    parser.add_argument("--threads", type=int, default=None, help="processors; all cores if not given")
    parser.add_argument(
        "--rows", type=int, default=None, help="rows of every speed case, to try things out"
    )
    parser.add_argument("--seconds", type=float, default=None, help="budget of a peer's fit")
    parser.add_argument("--data", type=Path, default=None, help="folder of tables; or DIFFEO_DATA")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for what is written")
    options = parser.parse_args(given)
    if options.data is None and os.environ.get("DIFFEO_DATA"):
        options.data = Path(os.environ["DIFFEO_DATA"])
    options.rounds = options.rounds or (3 if options.quick else 11)
    options.seconds = options.seconds or (5.0 if options.quick else 120.0)
    return options


class Run:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.begun = options, time.perf_counter()
        self.gpu = graphics_card() if options.gpu else ""
        self.device = "cuda" if options.gpu else "cpu"
        self.patience = 60.0 if options.quick else timing.PATIENCE
        self.skipped: list[str] = []
        self.busy: list[float] = []

    def say(self, text: str) -> None:
        """Tell on standard error where the run is."""
        print(f"[{time.perf_counter() - self.begun:6.0f} s] {text}", file=sys.stderr, flush=True)

    def look_around(self) -> None:
        """Note how busy others keep the machine, and warn where that spoils the figures."""
        share = machine.busy()
        if share is not None:
            self.busy.append(share)
            if share > machine.QUIET:
                self.say(f"warning: others use {share:.0%} of the processors; do not trust these times")

    def within(self, part: str, found: Iterable[Item]) -> Iterator[Item]:
        """Yield the cases of a part while there is time for more."""
        begun = time.perf_counter()
        for item in found:
            if self.options.quick and time.perf_counter() - begun > QUICK[part]:
                case = item[1] if isinstance(item, tuple) else item
                self.skipped.append(f"{part}: {case.name}")
            else:
                yield item

    def reports(self) -> Iterator[dict[str, Any]]:
        """Measure the parts that were asked for; yield the report after each case, so that none is lost."""
        report: dict[str, Any] = {
            "format": FORMAT,
            "machine": machine.facts(self.gpu),
            "settings": {
                "quick": self.options.quick,
                "rounds": self.options.rounds,
                "libraries": self.options.libraries,
                "device": self.device,
                "threads": self.options.threads or machine.cores(),
            },
            **{part: [] for part in PARTS},
            "data": "",
            "skipped": self.skipped,
            "busy": self.busy,
        }
        for part in PARTS:
            if part in self.options.only:
                for found in getattr(self, part)():
                    report.update(found)
                    yield report

    def speed(self) -> Iterator[dict[str, Any]]:
        """Measure the cases with goals, and the floor of the training steps."""
        instructions = machine.facts()["instructions"]
        # Without instructions for it, products of bfloat16 bound nothing and take minutes.
        half = self.gpu or {"avx512_bf16", "amx_bf16"} & set(instructions)
        floors = [name for name in FLOORS if half or "bfloat16" not in name]
        workers = handles([*self.options.libraries, *floors], self.options.threads)
        found: list[dict[str, Any]] = []
        matching = [c for c in cases.speed(self.options.quick) if self.options.match in c.name]
        for case in self.within("speed", matching):
            case = dataclasses.replace(case, device=self.device, rows=self.options.rows or case.rows)
            self.say(case.name)
            self.look_around()
            names = [name for name in workers if name not in FLOORS or case.work == "train"]
            chosen = {name: workers[name] for name in names}
            measured = timing.measured(case, chosen, self.options.rounds, self.patience)
            found.append({**measured, "instructions": instructions})
            yield {"speed": found}
        for worker in workers.values():
            worker.close()

    def memory(self) -> Iterator[dict[str, Any]]:
        """Measure the memory of shallow and deep flows."""
        points = [
            dataclasses.replace(case, device=self.device, rows=self.options.rows or case.rows)
            for case in cases.depths(self.options.quick)
        ]
        ours = [*MEMORY] if "diffeo" in self.options.libraries else []
        names = [*self.options.libraries[:1], *ours, *self.options.libraries[1:]]
        if self.options.quick:
            names = [name for name in names if name in (*FEW, *MEMORY)]
        steps = 2 if self.options.quick else 9
        yield {
            "memory": memory.measured(points, names, steps, self.patience, self.options.threads, self.say)
        }

    def growth(self) -> Iterator[dict[str, Any]]:
        """Measure along D, K and B."""
        chosen = list(self.options.libraries)
        if self.options.quick:
            chosen = [name for name in chosen if name in FEW]
        workers = handles(chosen, self.options.threads)
        found: list[dict[str, Any]] = []
        known: dict[cases.Case, dict[str, Any]] = {}  # the axes cross in one case
        for axis, case in self.within("growth", cases.growth(self.options.quick)):
            case = dataclasses.replace(case, device=self.device)
            if case not in known:
                self.say(f"growth with {axis}: {case.name}")
                self.look_around()
                rounds = max(3, self.options.rounds // 2)
                known[case] = timing.measured(case, workers, rounds, self.patience)
            found.append({**known[case], "axis": axis})
            yield {"growth": found}
        for worker in workers.values():
            worker.close()

    def fits(self) -> Iterator[dict[str, Any]]:
        """Measure fits to real tables; quick mode takes one, few peers, and their own loops only."""
        real, data = tables(self.options.data)
        self.say(data)
        batches: tuple[int | None, ...] = (None, 512)
        if self.options.quick:
            real = {name: (train, held[:4096]) for name, (train, held) in list(real.items())[:1]}
            batches = (None,)
        names, seconds = self.options.libraries, self.options.seconds
        if self.options.quick:
            names = [name for name in names if name in FEW]
        found: list[dict[str, Any]] = []
        for table in real.items():
            threads = self.options.threads
            found.append(fitting.measured(table, names, seconds, batches, self.device, threads, self.say))
            yield {"fits": found, "data": data}


def graphics_card() -> str:
    """Return the name of the GPU, or end the program."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    name = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not name:
        sys.exit("--gpu: this torch sees no CUDA device; leave the option out to measure the CPU.")
    return name


def write(report: dict[str, Any], folder: Path) -> Path:
    """Write the JSON, the page and the picture; return the page's path."""
    name = machine.slug(report["machine"]) + ("-quick" if report["settings"]["quick"] else "")
    folder.mkdir(parents=True, exist_ok=True)
    picture = ""
    if report["growth"]:
        from benchmarks.picture import draw

        picture = f"{name}.png"
        draw(report["growth"], folder / picture)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", "utf-8")
    path = folder / f"{name}.md"
    path.write_text(page(report, picture), "utf-8")
    return path


def main(given: list[str] | None = None) -> int:
    """Measure, write and print."""
    options = arguments(given)
    run = Run(options)
    path = options.output
    for report in run.reports():
        path = write(report, options.output)
    print(path.read_text("utf-8"))
    run.say(f"written: {path} and the files beside it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
