"""Untouched: nothing that diffeo does changes torch's defaults or its global random state."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.files import load
from diffeo.flows import Flow
from diffeo.testing import state as state_module
from diffeo.testing.state import torch_state
from diffeo.training import TrainConfig, fit


@check("global state untouched", "C8")
def untouched(flow: Flow, x: Tensor, context: Tensor | None = None) -> Figure:
    """Count the changes that calls make to torch's defaults and global random state.

    The calls are log_prob, sample with a generator, decode with its check, save, load and fit.

    >>> from diffeo.flows import NICE
    >>> untouched(NICE(2, couplings=2, hidden=(8,)), torch.randn(40, 2)).ok
    True
    """
    generator = torch.Generator(flow.base.device).manual_seed(0)
    rows = x.repeat(4, *[1] * (x.ndim - 1))
    given = context
    if context is not None:
        given = context.expand(len(x), -1).repeat(4, 1)

    def saved() -> None:
        with tempfile.TemporaryDirectory() as folder:
            flow.save(Path(folder) / "model.safetensors")
            load(Path(folder) / "model.safetensors")

    def fitted() -> None:
        import copy

        config = TrainConfig(max_steps=2, batch_size=4)
        fit(copy.deepcopy(flow), rows, context=given, validation=None, config=config, progress=False)

    calls: dict[str, Callable[[], Any]] = {
        "log_prob": lambda: flow.log_prob(x, context),
        "sample": lambda: flow.sample((3,), context, generator=generator),
        "rsample_and_log_prob": lambda: flow.rsample_and_log_prob((3,), context, generator=generator),
        "decode": lambda: flow.decode(x, context, check=True, repair=True),
        "save and load": saved,
        "fit": fitted,
    }
    found: list[str] = []
    state = torch_state()
    for name, call in calls.items():
        call()
        after = torch_state()
        found += [f"{name} changes the {key}" for key in state if state[key] != after[key]]
        state = after
    return Figure(
        "global state untouched",
        worst=float(len(found)),
        limit=0.0,
        tested=len(calls) * len(state),
        failed=len(found),
        detail="; ".join(found[:3]),
        figure="C8",
    )


#: Run by a fresh interpreter, which reads the state by a file of its own before it knows diffeo.
_IMPORT_EVERYTHING = """
import importlib, json, pkgutil, runpy, sys
torch_state = runpy.run_path(sys.argv[1])["torch_state"]
before = torch_state()
import diffeo
names = [m.name for m in pkgutil.walk_packages(diffeo.__path__, "diffeo.") if "__main__" not in m.name]
for name in names:
    importlib.import_module(name)
after = torch_state()
print(json.dumps([len(names) * len(before), [key for key in before if before[key] != after[key]]]))
"""


def imports_untouched() -> Figure:
    """Count what changes in torch's, NumPy's and Python's global state when all of diffeo is imported.

    >>> imports_untouched().ok
    True
    """
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT_EVERYTHING, str(state_module.__file__)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    tested, found = json.loads(answer.stdout)
    return Figure(
        "global state untouched by imports",
        worst=float(len(found)),
        limit=0.0,
        tested=tested,
        failed=len(found),
        detail=f"importing diffeo changes {', '.join(found)}" if found else "",
        figure="C8",
    )
