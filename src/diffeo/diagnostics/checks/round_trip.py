"""Invertible: a value comes back, as exactly as its row's conditioning allows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.rounding import TRUST, predicted_error
from diffeo.diagnostics.checks.subject import apply, check, own_copy, precision, rows_of
from diffeo.diagnostics.figure import Figure
from diffeo.kernels.circle import arc

#: The largest relative round-trip error of a well-conditioned map.
LIMITS = {torch.float32: 1e-5, torch.float64: 1e-12}

#: A measured error beyond this many times the predicted one is a bug, not rounding.
ALARM = 10.0

#: Predictions above this are beyond first order, and are not compared.
FIRST_ORDER = 1e-2

#: What figures say of rows that their precision cannot bring back.
FLAGGED = "ill-conditioned in"

#: A row with a larger error than this must have been flagged (predicted at least ``TRUST``).
VISIBLE = 1e-3


@check("round trip", "A1")
@torch.no_grad()
def round_trip(
    bijection: Any,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    limit: float | None = None,
) -> Figure:
    """Measure the round trip z → x → z (with ``inverse``, x → z → x) against a fixed limit.

    error = ‖back − value‖∞ / max(1, ‖value‖∞) of a row, in the precision of ``value``. The limit is
    that of maps in good condition, 1e-5 in float32 and 1e-12 in float64, unless given. A row that does not
    come back finite has failed at any limit: with ``limit=math.inf`` only those are counted.

    >>> from diffeo.bijections import Scale
    >>> round_trip(Scale(2), torch.ones(3, 2)).ok
    True
    """
    bound = LIMITS[value.dtype] if limit is None else limit
    error, size = _measured(bijection, value, context, inverse)
    relative = error / size
    bad = ~(relative <= bound) | ~relative.isfinite()
    finite = relative[relative.isfinite()]
    lost = int((~relative.isfinite()).sum())
    return Figure(
        f"round trip, {precision(value.dtype)} ({_trip(inverse)})",
        worst=float(finite.amax()) if len(finite) else 0.0 if not lost else float("nan"),
        limit=bound,
        tested=len(relative),
        failed=int(bad.sum()),
        detail=f"{lost} of {len(relative)} rows do not come back finite" if lost else "",
        figure="A1",
    )


@check("round trip beside its prediction", "A1")
@torch.no_grad()
def round_trip_against_prediction(
    bijection: Any,
    value: Tensor,
    context: Tensor | None = None,
    *,
    inverse: bool = False,
    predicted: Tensor | None = None,
) -> Figure:
    """Measure each row's round-trip error in units of its predicted error.

    See :mod:`diffeo.bijections.rounding`. A row fails if its error exceeds 10 × predicted where that is
    below 1e-2, or if its error exceeds 1e-3 (or it does not come back finite) although it was trusted
    (predicted below 1e-4). Neither needs a tolerance chosen for the map: a badly conditioned map is
    flagged, a map that is not invertible is caught. ``worst`` is the largest error / predicted; rows with
    larger predictions are not counted as tested. ``predicted``, if it is known already, is
    what :func:`~diffeo.bijections.rounding.predicted_error` says of these rows.

    >>> from diffeo.bijections import Scale
    >>> round_trip_against_prediction(Scale(2), torch.ones(3, 2)).failed
    0
    """
    subject = own_copy(bijection, value.dtype)
    error = _measured(bijection, value, context, inverse, norm=2)[0]
    back, _ = apply(subject, value, context, inverse=inverse)
    start = value.expand_as(back)
    if predicted is None:
        predicted = predicted_error(subject, start, context, inverse=inverse)
    predicted = predicted.reshape(-1).to(error)
    # The last rounding of the result itself is there even where the prediction is smaller.
    least = torch.finfo(value.dtype).tiny
    comparable = (predicted < FIRST_ORDER) & error.isfinite()
    ratio = torch.where(comparable, error / predicted.clamp(min=least), 0.0)
    unflagged = ~(error <= VISIBLE) & (predicted < TRUST)
    bad = (ratio > ALARM) | unflagged
    flagged = int((predicted >= TRUST).sum())
    lost = int((~error.isfinite()).sum())
    notes: list[str] = []
    if bool(bad.any()):
        k = int(torch.where(bad, torch.nan_to_num(error, nan=torch.inf), -1.0).argmax())
        notes.append(f"a row comes back off by {float(error[k]):.2g}, predicted {float(predicted[k]):.2g}")
    if flagged:
        notes.append(f"{flagged} of {len(error)} rows are {FLAGGED} {precision(value.dtype)}, and flagged")
    if lost:
        notes.append(f"{lost} of {len(error)} rows do not come back finite")
    return Figure(
        f"round trip error / predicted, {precision(value.dtype)} ({_trip(inverse)})",
        worst=float(ratio.amax()) if len(ratio) else 0.0,
        limit=ALARM,
        tested=int((comparable | (predicted < TRUST)).sum()),
        failed=int(bad.sum()),
        detail="; ".join(notes),
        figure="A1",
    )


def _trip(inverse: bool) -> str:
    return "x → z → x" if inverse else "z → x → z"


def _measured(
    bijection: Any, value: Tensor, context: Tensor | None, inverse: bool, norm: float = torch.inf
) -> tuple[Tensor, Tensor]:
    """Return each row's round-trip error, along the circle for angles, and max(1, ‖value‖∞), in float64."""
    subject = own_copy(bijection, value.dtype)
    there, _ = apply(subject, value, context, inverse=inverse)
    back, _ = apply(subject, there, context, inverse=not inverse)
    start = rows_of(value.expand_as(back), subject.event_ndim).double()
    apart = arc(rows_of(back, subject.event_ndim).double() - start, subject.circles[int(inverse)])
    error = torch.linalg.vector_norm(apart, norm, -1)
    return error, start.abs().amax(-1).clamp(min=1.0)
