"""What a flow that has learned something keeps: near its rows, far from them, and beside their entropy.

At its start a flow is nearly the identity; after training it is as steep as its data are narrow.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from diffeo.diagnostics import checks
from diffeo.diagnostics.figure import Figure
from diffeo.flows import Flow
from diffeo.testing.cases import Case
from diffeo.testing.stressed import trained
from diffeo.toys import TOYS

#: The largest relative error of a round trip, in float32, on rows like those that were learned.
CLOSE = 1e-4

#: Held-out nats below the entropy that chance explains, in standard errors.
CHANCE = 3.0


def clustered_rows(rows: int, features: int, seed: int = 0) -> Tensor:
    """Return draws of eight tight clusters, the first feature with the tails of Student's t (ν = 3).

    >>> clustered_rows(5, 2).shape
    torch.Size([5, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, features, generator=torch.Generator().manual_seed(1))
    which = torch.randint(8, (rows,), generator=generator)
    x = centres[which] + 0.05 * torch.randn(rows, features, generator=generator)
    normal = torch.randn(rows, 4, generator=generator)
    tail = normal[:, 0] / (normal[:, 1:].square().mean(-1)).sqrt()
    x[:, 0] = x[:, 0] + 0.3 * tail
    return x


def far_and_near(case: Case, features: int = 2, steps: int = 300, rows: int = 512) -> Iterator[Figure]:
    """Yield round trips, in float32, of a trained flow: held-out rows, its samples, rows far away (A2).

    Held-out rows come back to 1e-4. A sample between the clusters, or a row far away (normal, with a
    standard deviation of 10 or 1,000), lies where the data said nothing: it may be in bad condition, but
    then it must be flagged.

    >>> from diffeo.testing import CASES
    >>> [figure.ok for figure in far_and_near(CASES["flows.RealNVP"], steps=20, rows=64)]
    [True, True, True, True]
    """
    flow = trained(case.flow(features, seed=3), clustered_rows(1024, features), steps=steps)
    generator = torch.Generator().manual_seed(5)
    noise = flow.base.sample((rows,), generator=generator)
    held = clustered_rows(rows, features, seed=9)
    figure = checks.round_trip(flow.bijection, held, inverse=True, limit=CLOSE)
    yield replace(figure, name="trained, held-out rows: round trip, float32", figure="A2")
    judged = {"samples": (noise, False)}
    for spread in (10.0, 1e3):
        judged[f"rows {spread:g} times as far"] = (
            spread * torch.randn(held.shape, generator=generator),
            True,
        )
    for name, (value, inverse) in judged.items():
        figure = checks.round_trip_against_prediction(flow.bijection, value, inverse=inverse)
        yield replace(figure, name=f"trained, {name}: error / predicted, or unflagged", figure="A2")


def above_entropy(case: Case, toy: str, steps: int = 300, rows: int = 10_000) -> Figure:
    """Train a flow on a toy; measure by how much its held-out nats fall below the toy's entropy (A6).

    No density does that but by chance: E[log p_D − log p_θ] = KL(p_D ‖ p_θ) ≥ 0. The difference is taken
    row by row, and stated in standard errors; at most 3 pass. A likelihood that is too good is wrong.

    >>> from diffeo.testing import CASES
    >>> above_entropy(CASES["flows.RealNVP"], "moons", steps=20, rows=500).ok
    True
    """
    flow = trained(case.flow(2, seed=4), TOYS[toy].sample(2000, seed=1), steps=steps)
    return nats_above_entropy(flow, toy, rows)


@torch.no_grad()
def nats_above_entropy(flow: Flow, toy: str, rows: int = 10_000) -> Figure:
    """Return the figure of :func:`above_entropy` for a flow that is trained."""
    x, exact = _held_out(toy, rows)
    log_prob = torch.cat([flow.log_prob(part.to(flow.dtype)) for part in x.split(2000)]).double()
    gap = exact - log_prob
    error = float(gap.std()) / math.sqrt(rows)
    below = -float(gap.mean()) / error
    return Figure(
        "held-out nats below the entropy, in standard errors",
        worst=max(below, 0.0) if math.isfinite(below) else math.nan,
        limit=CHANCE,
        tested=1,
        failed=int(not below <= CHANCE),
        detail=f"{toy}: {float(gap.mean()):.3f} ± {error:.3f} nats above it",
        figure="A6",
    )


@functools.cache
def _held_out(toy: str, rows: int) -> tuple[Tensor, Tensor]:
    """Return rows of a toy, and their exact log-density."""
    x = TOYS[toy].sample(rows, seed=2)
    return x, TOYS[toy].log_prob(x)
