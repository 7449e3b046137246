"""The contract: shapes of values and log-determinants for every batch shape, and their precision."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from diffeo.diagnostics.checks.subject import (
    BrokenContract,
    adopt,
    apply_checked,
    check,
    direction,
    flat_rows,
    own_copy,
)
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow


@check("shapes")
@torch.no_grad()
def shapes(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Count batch shapes, (), (1,), (n,), (2, 3) and (0,), for which a shape is not what it should be.

    The value keeps its shape, the log-determinant has one number for each row of the batch.

    >>> from diffeo.bijections import Scale
    >>> shapes(Scale(2), torch.ones(6, 2)).failed
    0
    """
    subject = own_copy(bijection, value.dtype)
    flat, given = flat_rows(subject, value, context)
    six = torch.arange(6, device=value.device) % len(flat)
    batches = {(6,): six, (): 0, (1,): slice(0, 1), (2, 3): six.reshape(2, 3), (0,): slice(0, 0)}
    found: list[str] = []
    for batch, rows in batches.items():
        try:
            apply_checked(subject, flat[rows], None if given is None else given[rows], inverse=inverse)
        except BrokenContract as error:
            found.append(str(error))
        except Exception as error:  # which batch shape raised is the finding
            if batch == (6,):
                raise
            found.append(
                f"batch shape {batch} raises {type(error).__name__}: {' '.join(str(error).split())[:150]}"
            )
    return Figure(
        f"shapes ({direction(inverse)})",
        worst=float(len(found)),
        limit=0.0,
        tested=len(batches),
        failed=len(found),
        detail=found[0] if found else "",
    )


@check("finite values")
@torch.no_grad()
def finite(
    bijection: Any, value: Tensor, context: Tensor | None = None, *, inverse: bool = False
) -> Figure:
    """Count rows of ordinary values whose image or log-determinant is not finite.

    >>> from diffeo.bijections import Scale
    >>> finite(Scale(2), torch.ones(6, 2)).failed
    0
    """
    subject = own_copy(bijection, value.dtype)
    moved, log_det = apply_checked(subject, value, context, inverse=inverse)
    ok = moved.flatten(moved.ndim - subject.event_ndim).isfinite().all(-1) & log_det.isfinite()
    failed = int((~ok).sum())
    return Figure(
        f"finite values ({direction(inverse)})",
        worst=float(failed),
        limit=0.0,
        tested=ok.numel(),
        failed=failed,
        detail=f"{failed} of {ok.numel()} ordinary rows give NaN or infinity" if failed else "",
    )


@check("precision kept", "E1")
@torch.no_grad()
def dtype_fidelity(
    target: Any, x: Tensor, context: Tensor | None = None, *, inverse: bool = True
) -> Figure:
    """Count outputs of the wrong dtype: float32 and float64 kept, at least float32 under autocast.

    For a flow the outputs are those of ``log_prob`` and ``decode``, for a bijection the value and the
    log-determinant; under autocast only densities and log-determinants must keep float32.

    >>> from diffeo.bijections import Scale
    >>> dtype_fidelity(Scale(2), torch.ones(6, 2)).failed
    0
    """
    found: list[str] = []
    tested = 0
    for dtype, autocast in ((torch.float32, False), (torch.float64, False), (torch.float32, True)):
        outputs = _outputs(target, x, context, dtype, autocast, inverse)
        for name, output in outputs.items():
            tested += 1
            wanted = torch.float32 if autocast else dtype
            if output.dtype != wanted and not (autocast and output.dtype == torch.float64):
                how = " under bfloat16 autocast" if autocast else ""
                found.append(
                    f"{name} is {output.dtype} where {wanted} was expected{how}".replace("torch.", "")
                )
    return Figure(
        "precision kept",
        worst=float(len(found)),
        limit=0.0,
        tested=tested,
        failed=len(found),
        detail="; ".join(found[:3]),
        figure="E1",
    )


def _outputs(
    target: Any, x: Tensor, context: Tensor | None, dtype: torch.dtype, autocast: bool, inverse: bool
) -> dict[str, Tensor]:
    value, cond = x.to(dtype), None if context is None else context.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        if isinstance(target, Flow):
            flow = copy.deepcopy(target).to(dtype).eval()
            outputs = {"log_prob": flow.log_prob(value, cond)}
            if not autocast:
                outputs["decode"] = flow.decode(value, cond)
            return outputs
        moved, log_det = apply_checked(own_copy(adopt(target), dtype), value, cond, inverse=inverse)
    return {"log_det": log_det} if autocast else {"value": moved, "log_det": log_det}
