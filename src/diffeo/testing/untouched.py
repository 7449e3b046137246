"""Untouched: nothing that diffeo does changes torch's defaults or its global random state."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.files import load
from diffeo.flows import Flow
from diffeo.training import TrainConfig, fit


def torch_state() -> dict[str, Any]:
    """Return what is global in torch: defaults, switches and the random state.

    >>> sorted(torch_state())[:3]
    ['anomaly detection', 'default device', 'default dtype']
    """
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradient mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "validation of distributions": Distribution._validate_args,  # pyright: ignore[reportPrivateUsage]
        "matmul precision": torch.get_float32_matmul_precision(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "random state": torch.get_rng_state().tolist(),
    }


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
        found += [f"{name} changes torch's {key}" for key in state if state[key] != after[key]]
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
