"""Row isolation: a hostile row disturbs neither the values nor the gradients of any other row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.diagnostics.checks.subject import adopt, apply, check, own_copy, precision
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

#: What is put into one element of one row.
HOSTILE = (
    0.0, -0.0, 1e-45, 1e-30, 20.0, 1e3, 1e10, 1e18, 1e30, 3e38, math.inf, -math.inf, math.nan,
)  # fmt: skip


@check("row isolation", "B2")
def row_isolation(
    target: Any,
    x: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = True,
    values: Sequence[float] = HOSTILE,
    sites: int | None = None,
    together: bool = False,
) -> Figure:
    """Count hostile values in one row that change another row, in value or in gradient.

    Row 0 gets the hostile value in one element (each element in turn), and is then masked as a user
    would: ``torch.where(mask, 0, output).sum()``. The other rows' outputs, and the gradients of that sum
    towards every parameter, the other rows and their contexts, must be bit for bit those with an
    ordinary row in its place. For a flow the output is ``log_prob``; for a bijection value and
    log-determinant of the direction asked for. The context's rows, if any, get the same treatment.

    ``sites`` limits the elements tried to so many, evenly spaced. With ``together`` all finite values, each
    in a row of its own, go in one batch, and all that are not finite in another: what one row does to
    others it does beside more rows too, at a sixth of the passes. If such a batch disturbs its other rows,
    its values are tried one by one, so that the detail names the one. A map that chooses its way
    by the whole batch could take another way then: only values one by one tell.

    Shapes: ``x`` is (n, *event) with n ≥ 2; ``context`` is None, (features,) or (n, features).

    >>> from diffeo.bijections import Scale
    >>> row_isolation(Scale(2), torch.ones(3, 2)).failed
    0
    """
    subject: nn.Module = _flow(target, x.dtype) if isinstance(target, Flow) else own_copy(target, x.dtype)
    places = [("x", k) for k in range(x[0].numel())]
    if context is not None and context.ndim > 1:
        places += [("context", k) for k in range(context.shape[-1])]
    if sites is not None and len(places) > sites:
        places = [places[k * (len(places) - 1) // max(sites - 1, 1)] for k in range(sites)]
    found: list[str] = []
    clean: dict[int, dict[str, Tensor | None]] = {}

    def changed(group: Sequence[float], where: str, k: int) -> list[str]:
        """Return what changes when the values stand in rows 0, 1, …, copies of row 0."""
        count = len(group)
        rows = torch.tensor([*[0] * (count - 1), *range(len(x))], device=x.device)
        x_bad, context_bad = x[rows], context
        if context is not None and context.ndim > 1:
            context_bad = context[rows]
        if count not in clean:
            clean[count] = _outcome(subject, x_bad, context_bad, inverse, count)
        target_of = x_bad if where == "x" else context_bad
        target_of[:count].view(count, -1)[:, k] = x.new_tensor(group)  # pyright: ignore[reportOptionalSubscript]
        dirty = _outcome(subject, x_bad, context_bad, inverse, count)
        return [name for name in dirty if not _same(clean[count][name], dirty[name])]

    for where, k in places:
        groups: list[Sequence[float]] = [[value] for value in values]
        if together:
            finite = [value for value in values if math.isfinite(value)]
            groups = [group for group in (finite, [v for v in values if v not in finite]) if group]
        for group in groups:
            lost = changed(group, where, k)
            singly = [(v, changed([v], where, k)) for v in group] if lost and len(group) > 1 else []
            if lost and not any(names for _, names in singly):
                singly = [(value, lost) for value in group]
            found += [
                f"{value:g} in {where}[0, {k}] changes {', '.join(names[:2])}"
                for value, names in singly
                if names
            ]
    tested = len(values) * len(places)
    what = "log_prob" if isinstance(target, Flow) else "x → z" if inverse else "z → x"
    return Figure(
        f"row isolation, {precision(x.dtype)} ({what})",
        worst=float(len(found)),
        limit=0.0,
        tested=tested,
        failed=len(found),
        detail=found[0] if found else "",
        figure="B2",
    )


def _flow(flow: Flow, dtype: torch.dtype) -> nn.Module:
    import copy

    return copy.deepcopy(flow).to(dtype).eval()


def _outcome(
    subject: nn.Module, x: Tensor, context: Tensor | None, inverse: bool, bad: int
) -> dict[str, Tensor | None]:
    """Return the outputs of all rows but the first ``bad``, and the gradients of their sum, by name."""
    leaf = x.detach().clone().requires_grad_()
    cond = None if context is None else context.detach().clone().requires_grad_()
    wanted = {name: p for name, p in subject.named_parameters() if p.requires_grad}
    with torch.enable_grad():
        if isinstance(subject, Flow):
            outputs = {"log_prob": subject.log_prob(leaf, cond)}
        else:
            moved, log_det = apply(adopt(subject), leaf, cond, inverse=inverse)
            outputs = {"values": moved, "log-determinants": log_det.expand(moved.shape[:1])}
        total = x.new_zeros(())
        for output in outputs.values():
            mask = torch.arange(len(x), device=x.device).reshape(-1, *[1] * (output.ndim - 1)) < bad
            total = total + torch.where(mask, 0.0, output).sum()
        inputs = [leaf, *([] if cond is None else [cond]), *wanted.values()]
        grads = (
            torch.autograd.grad(total, inputs, allow_unused=True)
            if total.requires_grad
            else [None] * len(inputs)
        )
    names = ["the other rows' input gradients", *([] if cond is None else ["context gradients"])]
    names += [f"the gradient of {name}" for name in wanted]
    seen: dict[str, Tensor | None] = {
        f"the other rows' {name}": output[bad:].detach() for name, output in outputs.items()
    }
    for name, grad in zip(names, grads, strict=True):
        by_row = grad is not None and (
            name == names[0] or (name == "context gradients" and cond is not None and cond.ndim > 1)
        )
        seen[name] = grad[bad:] if by_row and grad is not None else grad
    return seen


def _same(clean: Tensor | None, dirty: Tensor | None) -> bool:
    """Whether both are finite and equal (or, where the clean one is not finite, equal to it)."""
    if clean is None or dirty is None:
        return clean is dirty
    return bool(((clean == dirty) | (clean.isnan() & dirty.isnan())).all())
