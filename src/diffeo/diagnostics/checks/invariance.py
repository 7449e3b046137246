"""A row's answer depends on the row alone: not on its batch, its place in it, or a call before."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.diagnostics.checks.subject import adopt, apply, check, own_copy, precision
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

#: The largest relative difference between a row's answers in different batches.
LIMITS = {torch.float32: 1e-6, torch.float64: 0.0}


@check("batch invariance", "B3")
@torch.no_grad()
def batch_invariance(
    target: Any,
    x: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = True,
    limit: float | None = None,
) -> Figure:
    """Measure how a row's answer differs between the whole batch, the row alone, a permutation and a half.

    For a flow the answer is ``log_prob``, for a bijection its value and log-determinant; differences are
    relative to max(1, |answer|). Shapes: ``x`` is (n, *event).

    >>> from diffeo.bijections import Scale
    >>> batch_invariance(Scale(2), torch.ones(4, 2)).worst
    0.0
    """
    bound = LIMITS[x.dtype] if limit is None else limit
    subject: nn.Module = (
        copy.deepcopy(target).to(x.dtype).eval() if isinstance(target, Flow) else own_copy(target, x.dtype)
    )
    n = len(x)
    given = context if context is None or context.ndim > 1 else context.expand(n, -1)

    def answer(rows: Tensor) -> Tensor:
        cond = None if given is None else given[rows]
        if isinstance(subject, Flow):
            return subject.log_prob(x[rows], cond)[:, None]
        moved, log_det = apply(adopt(subject), x[rows], cond, inverse=inverse)
        return torch.cat([moved.flatten(1), log_det.expand(len(moved))[:, None]], -1)

    whole = answer(torch.arange(n))
    size = whole.abs().clamp(min=1.0)
    ways = {
        "alone": torch.cat([answer(torch.tensor([k])) for k in range(n)]),
        "in reverse order": answer(torch.arange(n - 1, -1, -1)).flip(0),
        "in half the batch": torch.cat(
            [answer(torch.arange(n)[: n // 2]), answer(torch.arange(n)[n // 2 :])]
        ),
    }
    off = {
        name: torch.where(
            other == whole, 0.0, torch.nan_to_num((other - whole).abs() / size, nan=torch.inf)
        )
        for name, other in ways.items()
    }
    failed = int(sum((each > bound).any(-1).sum() for each in off.values()))
    way = max(off, key=lambda name: float(off[name].amax()))
    worst = float(off[way].amax())
    return Figure(
        f"batch invariance, {precision(x.dtype)}",
        worst=worst,
        limit=bound,
        tested=len(ways) * n,
        failed=failed,
        detail=f"a row {way} differs by {worst:.2g}" if worst > 0 else "",
        figure="B3",
    )


@check("inputs left unchanged", "B4")
def inputs_not_mutated(
    target: Any, x: Tensor, context: Tensor | None = None, *, inverse: bool = True
) -> Figure:
    """Count which of value, context, parameters and buffers a call in evaluation mode changes.

    For a flow the calls are ``log_prob`` and ``decode``, for a bijection the direction asked for.

    >>> from diffeo.bijections import Scale
    >>> inputs_not_mutated(Scale(2), torch.ones(4, 2)).failed
    0
    """
    subject: nn.Module = (
        copy.deepcopy(target).to(x.dtype).eval() if isinstance(target, Flow) else own_copy(target, x.dtype)
    )
    value, cond = x.detach().clone(), None if context is None else context.detach().clone()
    watched = {"its input": value, **({} if cond is None else {"the context": cond})}
    watched.update(
        {f"its own {name}": tensor for name, tensor in subject.state_dict(keep_vars=True).items()}
    )
    before = {name: tensor.detach().clone() for name, tensor in watched.items()}
    with torch.no_grad():
        if isinstance(subject, Flow):
            subject.log_prob(value, cond)
            subject.decode(value, cond)
        else:
            apply(adopt(subject), value, cond, inverse=inverse)
    changed = [name for name, tensor in watched.items() if not _same_bits(tensor.detach(), before[name])]
    what = "" if isinstance(target, Flow) else " (x → z)" if inverse else " (z → x)"
    return Figure(
        f"inputs left unchanged{what}",
        worst=float(len(changed)),
        limit=0.0,
        tested=len(watched),
        failed=len(changed),
        detail=f"a call changes {', '.join(changed[:3])} in place" if changed else "",
        figure="B4",
    )


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
