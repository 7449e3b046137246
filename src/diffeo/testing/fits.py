"""Whole fits: other units, the same seed, a call that cannot work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import Standardize
from diffeo.diagnostics.figure import Figure
from diffeo.errors import UserError
from diffeo.flows import Flow, RealNVP
from diffeo.training import TrainConfig, fit


def bent_rows(rows: int = 400, seed: int = 0) -> Tensor:
    """Return draws of a bent normal: x₂ = z₂ / 2 + x₁².

    >>> bent_rows(5).shape
    torch.Size([5, 2])
    """
    z = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    return torch.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0].square()], -1)


def small_flow(features: int = 2, seed: int = 0) -> Flow:
    """Return a small flow that begins with the scale of its data; the same seed, the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RealNVP(features, couplings=4, hidden=(24,)).then(Standardize(features))


def other_units(
    factors: Sequence[float] = (1e-30, 1e-10, 1e-3, 1e3, 1e10, 1e30), steps: int = 100
) -> Figure:
    """Fit x and a x + b; measure how far log p differs by anything but D log a, in nats.

    The rounding of a x + b does differ. Adam's first steps, which divide a gradient by its own size,
    magnify that where a gradient is nearly zero; within some dozens of steps the fit forgets it.

    >>> other_units(factors=(1e3,)).ok
    True
    """
    x = bent_rows()
    wanted = _fitted(x, steps).log_prob(x).detach()
    off = [0.0]
    for factor in factors:
        moved = x * factor + 3 * factor
        found = _fitted(moved, steps).log_prob(moved).detach() + 2 * math.log(factor)
        off.append(float(torch.nan_to_num((found - wanted).abs(), nan=torch.inf).amax()))
    return Figure(
        "log p after a change of units, nats",
        worst=max(off),
        limit=1e-3,
        tested=len(factors) * len(x),
        failed=sum(not error <= 1e-3 for error in off),
        detail=f"factors from {min(factors):g} to {max(factors):g}",
        figure="B9",
    )


def same_seed_same_weights(repeats: int = 3, steps: int = 60) -> Figure:
    """Fit with one seed again and again; count fits whose weights differ in a bit.

    Before each fit torch's global random state is put elsewhere: it must have no influence.

    >>> same_seed_same_weights(repeats=1, steps=5).ok
    True
    """
    x = bent_rows()
    wanted = _fitted(x, steps).state_dict()
    failed = 0
    for k in range(repeats):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(k)
            found = _fitted(x, steps).state_dict()
        failed += any(not torch.equal(found[name], wanted[name]) for name in wanted)
    return Figure(
        "the same seed gives the same bits",
        worst=float(failed),
        limit=0.0,
        tested=repeats,
        failed=failed,
        figure="C7",
    )


def _fitted(x: Tensor, steps: int) -> Flow:
    flow = small_flow()
    fit(flow, x, config=TrainConfig(max_steps=steps, batch_size=64), progress=False)
    return flow


def _impossible(rows: int, columns: int) -> Iterator[tuple[str, Callable[[Flow], Any]]]:
    """Yield calls of fit that cannot work, on a large table."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))

    def spoiled(value: float, row: int, column: int) -> Tensor:
        bad = x.clone()
        bad[row, column] = value
        return bad

    def constant() -> Tensor:
        bad = x.clone()
        bad[:, 1] = 2.0
        return bad

    yield "NaN in the last row", lambda flow: fit(flow, spoiled(math.nan, -1, -1))
    yield "an infinity in the middle", lambda flow: fit(flow, spoiled(math.inf, rows // 2, 0))
    yield "a constant column", lambda flow: fit(flow, constant())
    yield "a column too many", lambda flow: fit(flow, torch.cat([x, x[:, :1]], -1))
    yield "a context that is not asked for", lambda flow: fit(flow, x, context=x[:, :2])
    yield "a batch of rows that are no rows", lambda flow: fit(flow, x.reshape(-1))
    yield "validation above one", lambda flow: fit(flow, x, validation=1.5)


def refused_in_time(rows: int = 1_000_000, columns: int = 50, limit: float = 1.0) -> Figure:
    """Measure the seconds until ``fit`` refuses what cannot work, on a table of that size.

    Making the spoiled copy of the table counts too. A call that is not refused with a typed error fails.
    """
    failed, worst, tested = 0, 0.0, 0
    found: list[str] = []
    for name, call in _impossible(rows, columns):
        flow = small_flow(columns)
        tested += 1
        began = time.perf_counter()
        try:
            call(flow)
        except UserError:
            seconds = time.perf_counter() - began
            worst = max(worst, seconds)
            if seconds <= limit:
                continue
            found.append(f"{name}: {seconds:.2f} s")
        else:
            found.append(f"{name}: not refused")
        failed += 1
    return Figure(
        f"seconds until an impossible fit of {rows:,} × {columns} is refused",
        worst=worst,
        limit=limit,
        tested=tested,
        failed=failed,
        detail="; ".join(found),
        figure="B6",
    )
