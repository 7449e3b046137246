"""Loading hostile files under watch: what was executed, imported, opened or started on the way."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from diffeo.diagnostics.figure import Figure
from diffeo.errors import DiffeoError
from diffeo.files import describe_file, load
from diffeo.flows import Flow
from diffeo.testing.malicious import MARK, malicious_files, small_flow
from diffeo.testing.malicious_models import malicious_models
from diffeo.testing.malicious_states import malicious_states, read_state

#: A file may take this long to be refused, in seconds.
SLOWEST = 2.0

#: All files together may raise the peak of memory by this much, in MiB.
MOST_MEMORY = 300.0

#: What the interpreter does without any effect outside itself. Everything else is reported.
_HARMLESS = (
    "object.__getattr__",
    "object.__setattr__",
    "object.__delattr__",
    "sys._getframe",
    "builtins.id",
)


class _Watch:
    """An audit hook, which Python cannot remove again: on while a file is read, off between files."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._on = str(folder), False
        self.seen: list[str] = []

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._on and not self._harmless(event, arguments):
            self.seen.append(f"{event} {arguments!r:.100}")

    def _harmless(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            # Only what was asked for, and only for reading.
            path, mode, _ = arguments
            return mode in ("r", "rb") and str(path).startswith((self._folder, "/dev/"))
        if event in ("os.scandir", "pathlib.Path.glob"):  # a resumed run looks for what a killed one left
            return str(arguments[0]).startswith(self._folder)
        return event in _HARMLESS

    def during(self, call: Callable[[], Any]) -> str:
        """Return what became of ``call``: "refused", or what is wrong with its end."""
        self.seen, self._on = [], True
        try:
            call()
            outcome = "was accepted"
        except DiffeoError as error:
            outcome = "refused" if len(str(error)) < 2000 else "an endless message"
            if _ran_out_of_memory(error):
                outcome = "asked for memory first"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error!s:.100}"
        finally:
            self._on = False
        return outcome


def _ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__
    return False


def _calls(name: str, path: Path) -> dict[str, Callable[[], Any]]:
    """Return the readers that must refuse the file; a description may be looked at without harm."""

    def described() -> None:
        describe_file(path)
        raise DiffeoError("it describes itself; nothing is built")

    if name.startswith("state: "):
        return {"a resumed run": lambda: read_state(path)}
    return {"load": lambda: load(path), "describe_file": described}


def _watched(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield for each file and reader what became of it; first its name alone, should it never end."""
    places = [folder / name for name in ("files", "models", "states")]
    for place in places:
        place.mkdir()
    _warm_up(folder)
    watch = _Watch(folder)
    sys.addaudithook(watch.hook)
    writers = (malicious_files, malicious_models, malicious_states)
    for name, path in chain.from_iterable(
        write(place) for write, place in zip(writers, places, strict=True)
    ):
        name = name[:80]
        yield {"begun": name}
        for reader, call in _calls(name, path).items():
            start = time.perf_counter()
            outcome = watch.during(call)
            yield {
                "name": f"{reader} of {name}",
                "outcome": outcome,
                "seen": watch.seen[:3],
                "seconds": time.perf_counter() - start,
            }
    left = [path.name for path in folder.rglob("*") if path.name == MARK or path.suffix == ".part"]
    yield {"name": "the folder", "outcome": "refused", "seen": left, "seconds": 0.0}


def _warm_up(folder: Path) -> None:
    """Read good files and bad, so that what torch imports on the way is there before the watch begins."""
    from diffeo.bijections import Chain, Standardize
    from diffeo.distributions import Wrapped

    path = folder / "good.safetensors"
    for flow in (
        small_flow(),
        Flow(Wrapped(torch.distributions.Beta(torch.ones(2), 2.0)), Chain(Standardize(2))),
    ):
        flow.save(path)
        load(path).log_prob(torch.full((1, *flow.event_shape), 0.5))
        describe_file(path)
    path.write_bytes(path.read_bytes()[:-1])
    for read in (load, read_state):
        with contextlib.suppress(DiffeoError):
            read(path)
    path.unlink()


def main(folder: str) -> None:
    """Watch this process while it reads the files, written into ``folder``; print JSON, a line for each."""
    torch.set_num_threads(1)  # a process of its own, as small as it can be
    for row in _watched(Path(folder)):
        row["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(row), flush=True)


def load_safely(timeout: float = 120.0) -> Figure:
    """Count malicious files that are not refused, with a typed error, quickly, and without any side effect.

    In a process of its own, under an audit hook: nothing is executed, imported, written, started or opened
    but the file itself; each is refused in less than two seconds, and memory stays bounded.
    """
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "diffeo.testing.audit", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
            output, end = done.stdout, done.stderr[-300:] if done.returncode else ""
        except subprocess.TimeoutExpired as error:
            kept: Any = error.stdout or b""
            output, end = kept.decode(), f"no end after {timeout} s"
        rows = [json.loads(line) for line in output.splitlines() if line.endswith("}")]
    files = sum("begun" in row for row in rows)
    found = [problem for row in rows if "begun" not in row for problem in _problems(row)]
    if end:
        last = next((row["begun"] for row in reversed(rows) if "begun" in row), "the first")
        found.append(f"the process ended at {last}: {end}")
    growth = (
        (rows[-1]["memory"] - rows[0]["memory"]) / (2**20 if sys.platform == "darwin" else 2**10)
        if rows
        else 0
    )
    if growth > MOST_MEMORY:
        found.append(f"memory grew by {growth:.0f} MiB")
    slowest = max((row["seconds"] for row in rows if "begun" not in row), default=0.0)
    return Figure(
        "malicious files refused, under an audit hook",
        worst=float(len(found)),
        limit=0.0,
        tested=files,
        failed=len(found),
        detail="; ".join(found[:3]) or f"slowest {slowest:.2f} s, memory +{growth:.0f} MiB",
        figure="D1",
    )


def _problems(row: dict[str, Any]) -> list[str]:
    found = [] if row["outcome"] == "refused" else [f"{row['name']}: {row['outcome']}"]
    if row["seen"]:
        found.append(f"{row['name']}: {', '.join(row['seen'])}")
    if row["seconds"] > SLOWEST:
        found.append(f"{row['name']}: {row['seconds']:.1f} s")
    return found


if __name__ == "__main__":
    main(sys.argv[1])
