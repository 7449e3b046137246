"""Measure bits per dimension of images, flow by flow; what was measured is not measured again.

    python -m benchmarks.images.run [--sets digits] [--methods Glow TarFlow] [--seconds 60] [--seeds 0]

Each fit is a line of a journal, so that a run may be ended and begun anew. The page beside it is written
after every fit.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.density.journal import Journal, Record
from benchmarks.images.page import page
from benchmarks.images.protocol import CLASSICAL, measured
from benchmarks.images.recipes import SETTINGS
from benchmarks.images.sets import SETS
from benchmarks.machine import busy, facts, slug

RESULTS = Path(__file__).parent.parent / "results"

#: Seconds that a flow may train for with --quick.
QUICK = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and is not in the journal yet."""
    asked = _parser().parse_args(arguments)
    seconds = QUICK if asked.quick else asked.seconds
    found = facts()
    journal = Journal(asked.journal or RESULTS / f"{slug(found)}-images.jsonl")
    folder = Path(asked.data) if asked.data else None
    for chosen in asked.sets:
        for method in asked.methods or [*CLASSICAL, *SETTINGS[chosen]]:
            if method not in CLASSICAL and method not in SETTINGS[chosen]:
                print(f"{chosen}: no recipe for {method}; there are {', '.join(SETTINGS[chosen])}")
                continue
            for seed in asked.seeds:
                budget = 0.0 if method in CLASSICAL else seconds
                name: Record = {"part": "images", "set": chosen, "seed": seed, "method": method}
                name["budget"] = budget
                if journal.has(name):
                    continue
                before = busy()
                data = SETS[chosen](folder, seed).tested_on(asked.tested)
                record: dict[str, Any] = measured(data, method, seed, budget)
                told = {"busy": before, "machine": found, "split": data.note, "dim": data.train[0].size}
                journal.append({**name, **record, **told})
                print(
                    f"{chosen} {method} seed {seed}: {record['bits']:.3f} bits/dim in {record['seconds']} s"
                )
                journal.path.with_suffix(".md").write_text(page(journal.records()), "utf-8")


def _count(text: str) -> int:
    found = int(text)
    if found < 1:
        raise argparse.ArgumentTypeError(f"{found} images measure nothing; expected 1 or more")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["digits"])
    parser.add_argument("--methods", nargs="+", help="those to measure; all that the set has if not given")
    parser.add_argument("--seconds", type=float, default=60.0, help="training time of each flow")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of splits, weights and noise")
    parser.add_argument("--tested", type=_count, help="measure on this many test images, the first; or all")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:g} seconds each")
    parser.add_argument("--data", default=os.environ.get("DIFFEO_DATA"), help="folder of mnist and cifar10")
    parser.add_argument("--journal", type=Path, help="the file of measurements, beside the page")
    return parser


if __name__ == "__main__":
    main()
