"""Parallel: DistributedDataParallel over two processes gives the loss and the gradient of one."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.diagnostics.checks.subject import check, precision
from diffeo.diagnostics.figure import Figure
from diffeo.files import load
from diffeo.flows import Flow

#: The largest relative difference, by precision: the two halves are summed in another order.
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-12}


@check("two processes", "E5")
def two_processes(flow: Flow, x: Tensor, *, seconds: float = 120.0) -> Figure:
    """Train one step on the halves of ``x`` in two processes (gloo); compare with one process.

    The flow is sent as a model file and wrapped in ``DistributedDataParallel``; compared are the mean loss
    and each averaged gradient, relative to max(1, largest). ``x`` has an even number of rows.

    A script that calls this needs the guard ``if __name__ == "__main__":``.
    """
    whole, wanted = _loss_and_gradients(flow, x)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        flow.save(Path(folder) / "model.safetensors")
        results = context.Queue()
        workers = [
            context.Process(target=_work, args=(rank, folder, x.tolist(), results), daemon=True)
            for rank in range(2)
        ]
        for worker in workers:
            worker.start()
        answers = [results.get(timeout=seconds) for _ in workers]
        for worker in workers:
            worker.join(seconds)
    loss = sum(answer[0] for answer in answers) / 2
    off = abs(loss - float(whole)) / max(1.0, abs(float(whole)))
    for _, gradients in answers:
        for name, gradient in wanted.items():
            given = torch.tensor(gradients[name], dtype=gradient.dtype).reshape(gradient.shape)
            off = max(off, float((given - gradient).abs().amax() / gradient.abs().amax().clamp(min=1.0)))
    limit = LIMITS[x.dtype]
    return Figure(
        f"two processes: loss and gradients, {precision(x.dtype)}",
        worst=off,
        limit=limit,
        tested=1 + 2 * len(wanted),
        failed=int(not off <= limit),
        figure="E5",
    )


def _loss_and_gradients(flow: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    flow.zero_grad()
    loss = -flow(x).mean()
    loss.backward()
    found = {
        name.removeprefix("module."): p.grad.detach().clone()
        for name, p in flow.named_parameters()
        if p.grad is not None
    }
    flow.zero_grad()
    return loss.detach(), found


def _work(rank: int, folder: str, rows: list[Any], results: Any) -> None:
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)  # this process's own
    flow = load(Path(folder) / "model.safetensors")
    address = (Path(folder) / "store").as_uri()
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    half = torch.tensor(rows, dtype=flow.dtype).chunk(2)[rank]
    loss, gradients = _loss_and_gradients(DistributedDataParallel(flow), half)
    results.put((float(loss), {name: g.flatten().tolist() for name, g in gradients.items()}))
    distributed.destroy_process_group()
