"""Training runs that are killed and resumed: are the final weights those of a run that was not?"""

from __future__ import annotations

import multiprocessing
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.figure import Figure
from diffeo.errors import FileError
from diffeo.files import container
from diffeo.flows import RealNVP
from diffeo.testing.faults import BOUNDARIES_A_SAVE, fault_at, kill
from diffeo.training import TrainConfig, fit

_STEPS = 160

#: Saves of the run below: at step 0, and where each window and each evaluation ends.
_SAVES = 9


@dataclass(frozen=True)
class Outcome:
    """What became of one run that was killed.

    Attributes:
        kill: where, as "after 0.31 s" or "at boundary 17".
        killed: whether the kill came before the run was over.
        readable: whether the checkpoint that was left could be read (or there was none yet).
        same: whether the resumed run's weights are those of the run that was not killed, bit for bit.
        litter: files beside the checkpoint after the resumed run.
    """

    kill: str
    killed: bool
    readable: bool
    same: bool
    litter: int


def training_run(folder: str, boundary: int) -> None:
    """Fit a small flow with a checkpoint in ``folder`` and write its weights; killed at a boundary.

    Dropout, noise, averaging and batch normalisation are on: each has something that a resume could
    forget. The flow's first weights differ from run to run: a resume has to bring the saved ones.
    """
    torch.set_num_threads(1)  # a process of its own, as small as it can be
    path = Path(folder)
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(1)).cumsum(-1)
    first = not (path / "state.safetensors").exists()
    torch.manual_seed(0 if first else time.time_ns())
    flow = RealNVP(3, couplings=2, hidden=(16,), dropout=0.1)
    config = TrainConfig(
        max_steps=_STEPS, batch_size=32, averaging=0.99, noise=0.01, evaluate_every=40, checkpoint_every=1
    )
    with fault_at(boundary, kill):
        fit(flow, x, config=config, checkpoint=path / "state.safetensors", progress=False)
    container.write(path / "weights.safetensors", flow.state_dict(), {})


def _run(folder: Path, boundary: int = 0, seconds: float | None = None) -> int:
    """Run :func:`training_run` in a process; return its exit code (negative: the signal)."""
    # A server forks each process: torch is imported once, not once a run.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffeo.testing.kills", "torch._dynamo"])
    process: Any = context.Process(target=training_run, args=(str(folder), boundary))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode


def _weights(folder: Path) -> dict[str, Tensor]:
    about, _ = container.read_header(folder / "weights.safetensors")
    return container.read_tensors(folder / "weights.safetensors", about)


def _readable(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        about, _ = container.read_header(path)
        container.read_tensors(path, about)
    except FileError:
        return False
    return True


def kill_and_resume(kills: int, seed: int = 0) -> list[Outcome]:
    """Kill ``kills`` runs, half at random moments and half at boundaries of a save; resume each.

    Raises:
        RuntimeError: a run that nobody killed did not end by itself.
    """
    draws = random.Random(seed)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as parent:
        whole, begun = Path(parent), 0.0
        for name in ("warm-up", "whole"):  # the first one also starts the server
            whole = Path(parent) / name
            whole.mkdir()
            begun = time.perf_counter()
            _finish(whole)
        seconds = time.perf_counter() - begun
        wanted = _weights(whole)
        for k in range(kills):
            folder = Path(parent) / str(k)
            folder.mkdir()
            if k % 2:
                # Each boundary of a save in turn, in a save drawn at random.
                boundary = draws.randrange(_SAVES) * BOUNDARIES_A_SAVE + 1 + k // 2 % BOUNDARIES_A_SAVE
                where, code = f"at boundary {boundary}", _run(folder, boundary)
            else:
                after = draws.uniform(0.1, 1.0) * seconds
                where, code = f"after {after:.2f} s", _run(folder, 0, after)
            readable = _readable(folder / "state.safetensors")
            same = readable and _resumed(folder, wanted)
            names = {"state.safetensors", "weights.safetensors"}
            litter = sum(path.name not in names for path in folder.iterdir())
            outcomes.append(Outcome(where, code == -signal.SIGKILL, readable, same, litter))
    return outcomes


def _finish(folder: Path) -> None:
    code = _run(folder)
    if code != 0:
        raise RuntimeError(f"a run that was not killed ended with exit code {code}")


def _resumed(folder: Path, wanted: dict[str, Tensor]) -> bool:
    _finish(folder)
    found = _weights(folder)
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def figures(kills: int, seed: int = 0) -> list[Figure]:
    """Return C1 (bit-equal weights) and C2 (unreadable files) over ``kills`` killed runs."""
    outcomes = kill_and_resume(kills, seed)
    different = [outcome for outcome in outcomes if not outcome.same]
    broken = [outcome for outcome in outcomes if not outcome.readable or outcome.litter]
    killed = sum(outcome.killed for outcome in outcomes)
    detail = f"{killed} of {len(outcomes)} runs were killed before they were over"
    return [
        Figure(
            name=name,
            worst=float(len(failures)),
            limit=0.0,
            tested=len(outcomes),
            failed=len(failures),
            detail="; ".join([detail, *(outcome.kill for outcome in failures)]),
            figure=label,
        )
        for label, name, failures in (
            ("C1", "kill -9, resume: weights that differ from the uninterrupted run's", different),
            ("C2", "kill -9: files that are unreadable or left over", broken),
        )
    ]
