"""Views: coordinates u in which columns are modelled, log p(x) = log p(u) + Σⱼ log duⱼ/dxⱼ.

A view moves each column by itself, so that what is known of some columns stays known. It is computed in
float64, where a column of 10⁹ ± 1 loses nothing; flows read u in float32, where numbers of size one keep
seven digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.bijections import Bijection, Gaussianize, Standardize

Array = NDArray[np.float64]
Bound = Sequence[float | None] | None

#: Rows that go through a view together.
PART = 65_536

#: Rows that a view is read off, at most.
SAMPLE = 50_000


def make_view(kind: str, x: Array, low: Bound = None, high: Bound = None, seed: int = 0) -> Bijection:
    """Return the view of that kind, read off training rows.

    Args:
        kind: "gaussian" (each column becomes a standard normal: its quantiles are learned) or "standard"
            (mean 0 and deviation 1, for columns without bounds).
        x: rows, (rows, columns).
        low: lower bounds of the columns, None where there is none.
        high: upper bounds.
        seed: of the sample that is read where there are many rows.
    """
    columns = x.shape[1]
    if len(x) > SAMPLE:
        x = x[np.random.default_rng(seed).choice(len(x), SAMPLE, replace=False)]
    if kind == "gaussian":
        view: Any = Gaussianize(columns, low=_listed(low), high=_listed(high))
    else:
        view = Standardize(columns, "moments")
    view.double().initialise(torch.from_numpy(np.ascontiguousarray(x)))
    return view.eval()


def has_bounds(low: Bound, high: Bound) -> bool:
    """Return whether any column is bounded."""
    return any(value is not None for side in (low, high) if side is not None for value in side)


def _listed(bound: Bound) -> list[float | None] | None:
    return None if bound is None else [None if value is None else float(value) for value in bound]


@torch.no_grad()
def seen(
    view: Bijection, x: Array, dtype: Any = np.float64, index: NDArray[np.int64] | None = None
) -> tuple[Any, Array]:
    """Return u of ``dtype`` and Σⱼ log duⱼ/dxⱼ of each row, or of those at ``index``, without a copy."""
    count = len(x) if index is None else len(index)
    u, log_det = np.empty((count, x.shape[1]), dtype), np.empty(count)
    for start in range(0, count, PART):
        part = slice(start, start + PART)
        some = x[part] if index is None else x[index[part]]
        rows = torch.from_numpy(np.ascontiguousarray(some, dtype=np.float64))
        value, moved = view.inverse(rows)
        u[part], log_det[part] = value.numpy(), moved.numpy()
    return u, log_det


@torch.no_grad()
def seen_apart(view: Bijection, x: Array) -> tuple[Array, Array]:
    """Return u, and log duⱼ/dxⱼ of each number; NaN where x is NaN."""
    known = np.isfinite(x)
    rows = torch.from_numpy(np.where(known, x, _middle(view)))
    if isinstance(view, Gaussianize):
        u, slope = view.elementwise(rows)
    else:
        u, _ = view.inverse(rows)
        slope = -view.get_buffer("scale").log().expand_as(u)
    return np.where(known, u.numpy(), np.nan), np.where(known, slope.numpy(), np.nan)


@torch.no_grad()
def shown(view: Bijection, u: Array) -> Array:
    """Return x for rows in a view's coordinates."""
    x = np.empty(u.shape)
    for start in range(0, len(u), PART):
        part = slice(start, start + PART)
        x[part] = view(torch.from_numpy(np.ascontiguousarray(u[part], dtype=np.float64)))[0].numpy()
    return x


def _middle(view: Bijection) -> Array:
    """Return the x that u = 0 stands for: a number that any column can have."""
    assert isinstance(view, Gaussianize | Standardize)
    return view(torch.zeros(1, *view.event_shape, dtype=torch.float64))[0].numpy()
