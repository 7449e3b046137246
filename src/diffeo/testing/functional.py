"""Functional: a flow goes through torch.func and copy like any function of tensors."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.checks.determinant import jacobian
from diffeo.diagnostics.checks.subject import check, precision
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow

#: The largest relative difference between two ways to the same number.
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-9}


@check("torch.func", "E5")
def functional(flow: Flow, x: Tensor, context: Tensor | None = None) -> Figure:
    """Compare log_prob and Jacobians with what vmap, jacrev, jvp, functional_call and copies give.

    Each way must run and agree to 1e-9 in float64 (1e-3 in float32, where ill-conditioned Jacobians differ
    by more than a rounding), relative to max(1, largest); a deepcopy must agree exactly.

    >>> from diffeo.flows import NICE
    >>> functional(NICE(2, couplings=2, hidden=(8,)).double(), torch.ones(4, 2, dtype=torch.float64)).ok
    True
    """
    own = copy.deepcopy(flow).to(x.dtype).eval()
    per_row = context is not None and context.ndim > 1
    reference = own.log_prob(x, context).detach()
    slopes = jacobian(own.bijection, x, context, inverse=True)

    def of_row(row: Tensor, cond: Tensor | None) -> Tensor:
        return own.log_prob(row, cond)

    def noise(rows: Tensor) -> Tensor:
        return own.bijection.inverse(rows, context)[0]

    def noise_of_row(row: Tensor, cond: Tensor | None) -> Tensor:
        return own.bijection.inverse(row, cond)[0]

    dims: Any = (0, 0 if per_row else None)
    flat = slopes.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's forward mode warns of itself when it is first loaded
        moved: Tensor = torch.func.jvp(noise, (x,), (torch.ones_like(x),))[1]
        ways = {
            "vmap": (torch.vmap(of_row, in_dims=dims)(x, context), reference),
            "jacrev": (
                torch.vmap(torch.func.jacrev(noise_of_row), in_dims=dims)(x, context).reshape(flat),
                slopes,
            ),
            "jvp": (moved.reshape(flat[:2]), slopes.sum(-1)),
            "functional_call": (
                torch.func.functional_call(own, dict(own.state_dict()), (x, context)),
                reference,
            ),
        }
    found: list[str] = []
    worst = 0.0
    for name, (value, wanted) in ways.items():
        off = _furthest(value.detach(), wanted)
        worst = max(worst, off)
        if not off <= LIMITS[x.dtype]:
            found.append(f"{name} differs by {off:.2g}")
    if not torch.equal(copy.deepcopy(own).log_prob(x, context), reference):
        found.append("a deepcopy has another density")
    return Figure(
        f"torch.func and deepcopy, {precision(x.dtype)}",
        worst=worst,
        limit=LIMITS[x.dtype],
        tested=len(ways) + 1,
        failed=len(found),
        detail="; ".join(found),
        figure="E5",
    )


def _furthest(value: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative to max(1, largest); the same infinity is no difference."""
    off = torch.where(value == wanted, 0.0, (value - wanted).abs())
    finite = wanted[wanted.isfinite()].abs()
    size = float(finite.amax()) if len(finite) else 1.0
    return float(torch.nan_to_num(off, nan=torch.inf).amax()) / max(1.0, size)
