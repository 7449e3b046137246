"""Stored: a model file gives back the same tensors and the same densities, bit for bit."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.files import load
from diffeo.flows import Flow


@check("file and back", "D3")
@torch.no_grad()
def file_and_back(flow: Flow, x: Tensor, context: Tensor | None = None) -> Figure:
    """Save, load, save again; count what is not bit-equal: tensors, dtypes, log_prob, samples.

    >>> from diffeo.flows import NICE
    >>> file_and_back(NICE(2, couplings=2, hidden=(8,)), torch.ones(4, 2)).ok
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        flow.save(path)
        loaded = load(path)
    before, after = flow.state_dict(), loaded.state_dict()
    generator = torch.Generator(flow.base.device)
    found = [
        name
        for name in {**before, **after}
        if name not in before
        or name not in after
        or before[name].dtype != after[name].dtype
        or not _same(before[name], after[name])
    ]
    shape = (3,)
    pairs = {
        "log_prob": (flow.log_prob(x, context), loaded.log_prob(x, context)),
        "samples": tuple(
            each.sample(shape, context, generator=generator.manual_seed(0)) for each in (flow, loaded)
        ),
    }
    found += [name for name, (wanted, given) in pairs.items() if not _same(wanted, given)]
    return Figure(
        "file and back, bit for bit",
        worst=float(len(found)),
        limit=0.0,
        tested=len(before) + len(pairs),
        failed=len(found),
        detail=f"not the same: {', '.join(found[:3])}" if found else "",
        figure="D3",
    )


@check("the same bytes", "D6")
def same_bytes(flow: Flow) -> Figure:
    """Count saves that differ in a byte: of the flow, of the flow again, and of the loaded flow.

    >>> from diffeo.flows import NICE
    >>> same_bytes(NICE(2, couplings=2, hidden=(8,))).ok
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
        flow.save(paths[0])
        flow.save(paths[1])
        load(paths[0]).save(paths[2])
        first, *others = (path.read_bytes() for path in paths)
    failed = sum(other != first for other in others)
    return Figure(
        "saving twice gives the same bytes",
        worst=float(failed),
        limit=0.0,
        tested=len(others),
        failed=failed,
        figure="D6",
    )


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())
