"""Differentiable: gradients are finite, and agree with finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from diffeo.bijections import Inverse
from diffeo.diagnostics.checks.conditioning import gentle
from diffeo.diagnostics.checks.subject import (
    apply,
    check,
    direction,
    flat_rows,
    own_copy,
    precision,
)
from diffeo.diagnostics.figure import Figure

#: Steps of the finite differences: a truncation or a rounding artefact depends on the step, a bug does not.
STEPS = (1e-6, 1e-7, 1e-8, 1e-5, 1e-4)


@check("gradients are finite", "A4")
def gradients_finite(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Count gradients that are not finite: of each input, of the context and of every parameter.

    The scalar differentiated is a fixed random combination of all values and log-determinants, in the
    precision of ``value``.

    >>> from diffeo.bijections import Scale
    >>> gradients_finite(Scale(2), torch.ones(3, 2)).failed
    0
    """
    subject = own_copy(bijection, value.dtype)
    leaves = _leaves(subject, value, context)
    with torch.enable_grad():
        moved, log_det = apply(subject, leaves["value"], leaves.get("context"), inverse=inverse)
        scalar = (moved * _weights(moved)).sum() + (log_det * _weights(log_det)).sum()
        found = (
            torch.autograd.grad(scalar, list(leaves.values()), allow_unused=True)
            if scalar.requires_grad
            else [None] * len(leaves)
        )
    lost = {
        name: g for name, g in zip(leaves, found, strict=True) if g is not None and not g.isfinite().all()
    }
    unconnected = not scalar.requires_grad or found[0] is None
    detail = ""
    if lost:
        detail = f"the gradient towards {', '.join(list(lost)[:3])} is not finite"
        if bool(moved.isfinite().all() & log_det.isfinite().all()):
            detail += ", though every value is: a branch that torch.where discards, or a root at 0?"
    elif unconnected:
        detail = "autograd sees no connection between the value and the input"
    count = int(sum(int((~g.isfinite()).sum()) for g in lost.values())) + int(unconnected)
    return Figure(
        f"gradients finite, {precision(value.dtype)} ({direction(inverse)})",
        worst=float(count),
        limit=0.0,
        tested=len(leaves),
        failed=len(lost) + int(unconnected),
        detail=detail,
        figure="A4",
    )


@check("gradcheck", "A4")
def gradcheck(
    bijection: Any,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    second: bool = False,
    every_mode: bool = False,
    fast: bool = False,
    predicted: Tensor | None = None,
) -> Figure:
    """Compare autograd with finite differences in float64: towards input, context and parameters.

    ``torch.autograd.gradcheck`` (and, with ``second``, ``gradgradcheck``); a parameter tensor is moved
    along one fixed direction, so that large networks stay affordable. It is tried with several steps: a
    wrong derivative disagrees at every step, a kink of a ReLU at some. One to four rows are checked that
    are not too steep for finite differences; without one, nothing is judged. ``every_mode`` also checks
    batched and forward-mode derivatives. With ``fast``, the Jacobian is compared along one random
    direction on either side, not entry by entry, at a cost that does not grow with its size. ``predicted``,
    if it is known already, is what :func:`~diffeo.bijections.rounding.predicted_error` says of the rows.

    >>> from diffeo.bijections import Scale
    >>> gradcheck(Scale(2), torch.ones(3, 2)).ok
    True
    """
    subject = own_copy(bijection, torch.float64)
    module: nn.Module = Inverse(subject) if inverse else subject
    fixed = {name: p.detach() for name, p in module.named_parameters() if p.requires_grad}
    name = f"gradcheck, float64 ({direction(inverse)})"
    rows, given = flat_rows(subject, value.detach().double(), context)
    chosen = (
        gentle(subject, rows, given, inverse=inverse, steepness=1e4, predicted=predicted)
        .nonzero()
        .flatten()
    )
    chosen = chosen[: max(1, min(4, 32 // rows[0].numel()))]
    if not len(chosen):
        note = "not judged: the map is too steep on these rows for finite differences"
        return Figure(name, 0.0, 0.0, 0, 0, detail=note, figure="A4")
    # Moved in units of its row's size: a step of 1e-6 on 1e10 would be lost in rounding.
    start = rows[chosen]
    unit = start.flatten(1).abs().amax(-1).clamp(min=1.0).reshape(-1, *[1] * subject.event_ndim)
    inputs = [torch.zeros_like(start).requires_grad_()]
    if given is not None:
        inputs.append(given[chosen].clone().requires_grad_())
    if fixed:
        inputs.append(value.new_zeros(len(fixed), dtype=torch.float64).requires_grad_())

    def raw(along: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        cond = rest[0] if context is not None else None
        moved = {
            name: p + rest[-1][k] * _weights(p) / max(p.numel(), 1) ** 0.5
            for k, (name, p) in enumerate(fixed.items())
        }
        return torch.func.functional_call(module, moved, (start + unit * along, cond))

    # In units of its slopes, so that gradcheck's absolute tolerance means the same for every map.
    size = [float(_slope_size(output, inputs)) for output in raw(*inputs)]

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        # torch leaves out an output that requires no gradient, so also one cut off by mistake.
        nothing = sum(0.0 * each.sum() for each in given)
        return tuple(output / s + nothing for output, s in zip(raw(*given), size, strict=True))

    tests: list[tuple[str, Callable[..., bool]]] = [("first", torch.autograd.gradcheck)]
    if second:
        tests.append(("second", torch.autograd.gradgradcheck))
    failures: list[str] = []
    for order, test in tests:
        options: dict[str, Any] = {"nondet_tol": 0.0, "fast_mode": fast}
        if every_mode:
            options["check_batched_grad"] = True
            options["check_forward_ad" if order == "first" else "check_fwd_over_rev"] = True
        message = _disagreement(test, function, tuple(inputs), options)
        if message:
            failures.append(f"{order} derivatives: {message}")
    return Figure(
        name,
        worst=float(len(failures)),
        limit=0.0,
        tested=len(tests),
        failed=len(failures),
        detail="; ".join(failures),
        figure="A4",
    )


def _disagreement(
    test: Callable[..., bool], function: Any, inputs: tuple[Tensor, ...], options: dict[str, Any]
) -> str:
    """Return the first complaint of ``test`` if it complains at every step, otherwise ""."""
    message = ""
    for step in STEPS:
        try:
            with warnings.catch_warnings():
                # torch's forward mode, on its first use, warns of torch's own scripting.
                warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
                test(function, inputs, eps=step, **options)
        except GradcheckError as error:
            message = message or " ".join(str(error).split())[:200]
        else:
            return ""
    return message


def _slope_size(output: Tensor, inputs: list[Tensor]) -> Tensor:
    """Return the size of the derivatives of ``output``, at least 1."""
    size = output.new_ones(())
    if output.requires_grad:
        for grad in torch.autograd.grad(output.sum(), inputs, retain_graph=True, allow_unused=True):
            if grad is not None and grad.isfinite().all():  # pyright: ignore[reportUnnecessaryComparison]
                size = torch.maximum(size, grad.abs().amax())
    return size


def _leaves(module: nn.Module, value: Tensor, context: Tensor | None) -> dict[str, Tensor]:
    """Return what is differentiated towards: value, context, and the parameters by name."""
    leaves = {"value": value.detach().clone().requires_grad_()}
    if context is not None:
        leaves["context"] = context.detach().clone().requires_grad_()
    leaves.update((name, p) for name, p in module.named_parameters() if p.requires_grad)
    return leaves


def _weights(like: Tensor) -> Tensor:
    """Return fixed weights around 1 that no symmetry of a map cancels."""
    k = torch.arange(like.numel(), dtype=like.dtype, device=like.device)
    return (1.0 + 0.5 * torch.sin(1.0 + 2.3 * k)).reshape(like.shape)
