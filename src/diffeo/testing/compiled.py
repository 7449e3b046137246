"""Compiled: log_prob is one graph, without breaks, and stays so when the batch changes its size."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.checks.subject import check
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

#: Batch sizes of one figure: the first is compiled for, the others may recompile.
BATCHES = (8, 3, 12, 33, 64)

#: Compilations after the first.
RECOMPILES = 2


@check("one graph", "E3")
def one_graph(
    flow: Flow,
    x: Tensor,
    context: Tensor | None = None,
    *,
    backend: str = "eager",
    limit: float = 1e-5,
    batches: Sequence[int] = BATCHES,
) -> Figure:
    """Compile ``log_prob`` with ``fullgraph=True``; count graphs over several batch sizes, compare values.

    A graph break raises, which fails the figure; so do more than two recompilations over the five sizes.
    The difference between eager and compiled values is relative to max(1, │log p│). torch's caches of
    compiled code are emptied first: they are shared by all modules of a class.

    Args:
        flow: the flow.
        x: rows, repeated as often as a batch needs.
        context: a row, or a row for each row of ``x``.
        backend: "eager" traces only, "aot_eager" traces the gradient too, "inductor" compiles.
        limit: the largest difference.
        batches: the sizes.

    >>> from diffeo.flows import NICE
    >>> one_graph(NICE(2, couplings=2, hidden=(8,)), torch.ones(4, 2), batches=(4, 5)).ok
    True
    """
    own = copy.deepcopy(flow).to(x.dtype).eval()
    counter = _Counter(backend)
    torch.compiler.reset()
    worst = 0.0
    with warnings.catch_warnings(), torch.no_grad():
        # torch's own compiler warns of itself (of missing kernels, of what it will deprecate).
        warnings.simplefilter("ignore")
        compiled: Any = torch.compile(own, fullgraph=True, backend=counter)
        for n in batches:
            rows = torch.arange(n) % len(x)
            cond = context[rows] if context is not None and context.ndim > 1 else context
            wanted, found = own(x[rows], cond), compiled(x[rows], cond)
            off = torch.where(found == wanted, 0.0, (found - wanted).abs() / wanted.abs().clamp(min=1.0))
            worst = max(worst, float(torch.nan_to_num(off, nan=torch.inf).amax()))
    torch.compiler.reset()
    many = counter.graphs > 1 + RECOMPILES
    return Figure(
        f"one graph, {backend}",
        worst=worst,
        limit=limit,
        tested=len(batches),
        failed=int(many) + int(not worst <= limit),
        detail=f"{counter.graphs} compilations for {len(batches)} batch sizes",
        figure="E3",
    )


class _Counter:
    """A backend of torch.compile that counts its graphs and passes them on."""

    def __init__(self, backend: str) -> None:
        self.graphs = 0
        self._backend = backend

    def __call__(self, module: Any, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        return torch._dynamo.lookup_backend(self._backend)(module, inputs)  # pyright: ignore[reportPrivateUsage]
