"""Measure what diffeo promises, and print it: n tested, n failed, the worst case, the limit.

    python scripts/reliability.py              # everything: some twenty minutes on two cores
    python scripts/reliability.py --quick      # a spread of everything: some two minutes
    python scripts/reliability.py --figures A1 D1
    python scripts/reliability.py --cases RealNVP

No failure in n trials is stated as a rate below 3/n, the bound at 95 % were the trials independent; rows of
one flow are less so than flows. The exit code is 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import random
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import reliability_peers
import torch
from reliability_page import TITLES, plain, show

from diffeo import __version__, testing
from diffeo.diagnostics import checks
from diffeo.diagnostics.figure import Figure
from diffeo.testing import CASES, GAINS, PROMISES, Case, Variant, keep, merged, spread, variants
from diffeo.testing.contract import DTYPES
from diffeo.toys import TOYS


@dataclasses.dataclass(frozen=True)
class Task:
    """A piece of work for one process: a function of this file and its arguments."""

    name: str
    arguments: tuple[object, ...] = ()

    def run(self) -> list[Figure]:
        """Return the figures."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(globals()[self.name](*self.arguments))


# -- pieces of work -------------------------------------------------------------------------------


def contract(name: str, quick: bool, labels: tuple[str, ...]) -> Iterator[Figure]:
    """Yield what the variants of a case measure of every promise."""
    case = CASES[name]
    chosen = (
        spread(case)
        if quick
        else (dataclasses.replace(v, nodes=300_000) for v in variants([case], dtypes=DTYPES, gains=GAINS))
    )
    for variant in chosen:
        yield from unexpected(case, keep(variant, labels))
    if case.part == "flow":
        for features in (1, 2, 3):
            for context in case.contexts:
                variant = Variant(case, features, context, seed=2, training=True)
                yield from unexpected(case, keep(variant, labels))


def unexpected(case: Case, figures: Iterable[Figure]) -> Iterator[Figure]:
    """Yield the figures that a case is not known to fail; those that it is are listed below the page."""
    return (figure for figure in figures if figure.figure not in case.expected_failures)


def draws(name: str, count: int, seed: int) -> Iterator[Figure]:
    """Yield round trips of a case at random parameters, gains, sizes, contexts and precisions (A1)."""
    case, draw = CASES[name], random.Random(f"{name} {seed}")
    for _ in range(count):
        variant = Variant(
            case,
            draw.choice(case.sizes),
            draw.choice(case.contexts),
            draw.choice(DTYPES),
            draw.choice(GAINS),
            seed=draw.randrange(2**31),
        )
        yield from unexpected(case, keep(variant, ("A1",)))


def laws(name: str, draws: int, labels: tuple[str, ...]) -> Iterator[Figure]:
    """Yield slopes within bounds (A8), and derivatives of both orders in every mode (A4), of a law."""
    law, generator = testing.laws()[name], torch.Generator().manual_seed(0)
    for dtype in DTYPES if "A8" in labels else ():
        yield checks.slope_bounds(law, draws, dtype=dtype, generator=generator)
    # Second derivatives cost the square of the parameters: of all but small laws, one row of one element.
    n, d = (4, 3) if law.n_params <= 4 else (1, 1)
    u = 3 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    theta = 4 * torch.randn(n, d * law.n_params, generator=generator, dtype=torch.float64)
    for inverse in (False, True) if "A4" in labels else ():
        figure = checks.gradcheck(
            checks.Steered(law, d), u, theta, inverse=inverse, second=True, every_mode=True
        )
        yield dataclasses.replace(figure, name=f"laws: both orders, every mode, {figure.name}")


def learned(name: str, toys: tuple[str, ...], labels: tuple[str, ...]) -> Iterator[Figure]:
    """Yield what a trained flow keeps: near and far rows (A2), the entropy of toys (A6)."""
    from diffeo.testing.learned import above_entropy, far_and_near

    if "A2" in labels:
        yield from far_and_near(CASES[name])
    if "A6" in labels:
        for toy in toys:
            yield above_entropy(CASES[name], toy)


def hostile() -> Iterable[Figure]:
    """Return the outcomes of the catalogue (B1) and the audit of its messages (B8)."""
    from diffeo.testing.hostile import run_catalogue

    return run_catalogue()


def fits() -> Iterator[Figure]:
    """Yield other units (B9) and repeated fits (C7)."""
    from diffeo.testing.fits import other_units, same_seed_same_weights

    yield other_units()
    yield same_seed_same_weights(repeats=5)


def refusals() -> Iterator[Figure]:
    """Yield the time until an impossible fit is refused (B6)."""
    from diffeo.testing.fits import refused_in_time

    yield refused_in_time()


def files(flips: int) -> Iterator[Figure]:
    """Yield malicious (D1), damaged (D2) and newer (D5) files, and the source (D8)."""
    from diffeo.testing.audit import load_safely
    from diffeo.testing.damaged import bit_flips, newer_and_unknown
    from diffeo.testing.source import no_code_execution

    yield load_safely()
    yield bit_flips(flips)
    yield newer_and_unknown()
    yield no_code_execution()


def graphs(name: str, backends: tuple[str, ...]) -> Iterator[Figure]:
    """Yield whether log_prob of a case is one graph (E3)."""
    from diffeo.testing.compiled import one_graph

    case = CASES[name]
    variant = Variant(case, case.sizes[:3][-1], case.contexts[-1], torch.float32)
    for backend in backends:
        yield from unexpected(case, [one_graph(variant.flow, variant.x, variant.given, backend=backend)])


def beside_ours(name: str, labels: tuple[str, ...], toys: tuple[str, ...]) -> Iterable[Figure]:
    """Return what a peer's flow measures."""
    return reliability_peers.measured(name, labels, toys)


def imports() -> Iterator[Figure]:
    """Yield what importing changes (C8)."""
    from diffeo.testing.untouched import imports_untouched

    yield imports_untouched()


def processes() -> Iterator[Figure]:
    """Yield two processes that train as one (E5)."""
    from diffeo.testing.parallel import two_processes

    for dtype in DTYPES:
        variant = Variant(CASES["flows.RealNVP"], 7, dtype=dtype)
        yield two_processes(variant.flow, variant.x)


def kills(count: int) -> Iterable[Figure]:
    """Return what killed and resumed runs end with (C1, C2)."""
    from diffeo.testing.kills import figures

    return figures(count)


# -- the page -------------------------------------------------------------------------------------


def plan(quick: bool, labels: Sequence[str], part: str = "") -> tuple[list[Task], list[Task]]:
    """Return the tasks for a pool of processes, and those that time or start processes of their own.

    Of cases and laws, those whose names contain ``part``.
    """
    cases = {name: case for name, case in CASES.items() if part in name}
    kept = tuple(p.figure for p in PROMISES if p.figure in labels)
    pooled, alone = list[Task](), list[Task]()
    wanted = set(labels)
    if kept:
        pooled += [Task("contract", (name, quick, kept)) for name in cases]
    if "A1" in wanted:
        count, parts = (16, 1) if quick else (250, 4)
        pooled += [Task("draws", (name, count, seed)) for name in cases for seed in range(parts)]
    if wanted & {"A4", "A8"}:
        count = 20_000 if quick else 1_000_000
        pooled += [Task("laws", (name, count, tuple(labels))) for name in testing.laws() if part in name]
    if wanted & {"A2", "A6"}:
        toys = ("moons",) if quick else tuple(TOYS)
        # Toys have values of all signs: a flow onto a box has nothing to learn from them.
        names = [name for name, case in cases.items() if case.part == "flow" and case.domain == "real"]
        pooled += [Task("learned", (name, toys, tuple(labels))) for name in names]
    if wanted & {"B1", "B8"}:
        pooled.append(Task("hostile"))
    if wanted & {"B9", "C7"}:
        pooled.append(Task("fits"))
    if wanted & {"D1", "D2", "D5", "D8"}:
        pooled.append(Task("files", (300 if quick else 20_000,)))
    if "E3" in wanted:
        names = [name for name, case in cases.items() if case.part == "flow" or not quick]
        backends = ("eager",) if quick else ("eager", "inductor")
        pooled += [Task("graphs", (name, backends)) for name in names]
    if "C8" in wanted:
        alone.append(Task("imports"))
    if "B6" in wanted:
        alone.append(Task("refusals"))
    if "E5" in wanted:
        alone.append(Task("processes"))
    if wanted & {"C1", "C2"}:
        alone.append(Task("kills", (8 if quick else 200,)))
    return pooled, alone


def measure(pooled: list[Task], alone: list[Task], workers: int) -> list[Figure]:
    """Return all figures, merged; progress goes to standard error."""
    figures: list[Figure] = []
    total, began = len(pooled) + len(alone), time.perf_counter()

    def done(task: Task, found: list[Figure]) -> None:
        figures.extend(found)
        bad = sum(not figure.ok for figure in found)
        finished = total - len(waiting)
        note = f", {bad} figures broken in {task.name} {task.arguments[:1]}" if bad else ""
        print(
            f"{time.perf_counter() - began:6.0f} s  {finished}/{total}{note}", file=sys.stderr, flush=True
        )

    waiting = {*pooled, *alone}
    with ProcessPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(task.run): task for task in pooled}
        for future in as_completed(futures):
            waiting.discard(futures[future])
            done(futures[future], future.result())
    for task in alone:
        waiting.discard(task)
        done(task, task.run())
    return merged(figures)


def main() -> int:
    """Measure, print, write; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a spread of everything, in minutes")
    parser.add_argument("--figures", nargs="+", metavar="A1", choices=[*TITLES], help="only these")
    parser.add_argument("--cases", default="", metavar="TEXT", help="only cases and laws named so")
    parser.add_argument("--no-peers", action="store_true", help="without zuko's and nflows' figures")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    labels = given.figures or list(TITLES)
    found = measure(*plan(given.quick, labels, given.cases), given.workers)
    figures = [figure for figure in found if figure.figure in labels]
    toys = ("moons",) if given.quick else tuple(TOYS)
    peers = [] if given.no_peers else list(reliability_peers.CASES)
    tasks = [Task("beside_ours", (name, tuple(labels), toys)) for name in peers]
    beside = measure(tasks, [], given.workers) if tasks else []
    show(figures, {(figure.figure, figure.name): figure for figure in beside})
    if beside:
        print(f"\nPeers: {', '.join(peers)}, small and stressed as ours; rows, draws or flows that failed.")
    for name, case in CASES.items():
        for label, reason in case.expected_failures.items():
            if label in labels and given.cases in name:
                print(f"Known to fail, and left out: {label} of {name}: {reason}")
    broken = [figure for figure in figures if not figure.ok]
    print(
        f"\n{len(figures)} figures, {len(broken)} broken. diffeo {__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, CPU."
    )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "diffeo": __version__,
            "torch": torch.__version__,
            "quick": given.quick,
            "figures": [plain(figure) for figure in figures],
            "peers": [plain(figure) for figure in beside],
        }
        given.json.write_text(json.dumps(about, indent=1) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
