"""From members as they were fitted to their mixture: which stay, their weights, one model of them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.bijections import Bijection
from diffeo.estimator.fitting import Entry
from diffeo.estimator.members import Members
from diffeo.estimator.table import Table
from diffeo.estimator.told import Told
from diffeo.estimator.views import Array
from diffeo.estimator.weights import mixed, mixture_weights, pruned
from diffeo.flows import Flow

#: Held-out rows that decide which members stay, at most.
DECIDING = 5_000


class ContextScale:
    """Location and scale of contexts, read off training rows."""

    def __init__(self, loc: Array, scale: Array) -> None:
        self.loc, self.scale = loc, scale

    @classmethod
    def of(cls, context: Array | None, train: NDArray[np.int64]) -> ContextScale:
        """Read mean and deviation off training rows."""
        if context is None:
            return cls(np.zeros(0), np.ones(0))
        some = context[train[:200_000]]
        deviation = some.std(0)
        return cls(some.mean(0), np.where(deviation > 0, deviation, 1.0))

    @classmethod
    def of_model(cls, model: Members) -> ContextScale:
        """Return the scale that a model has."""
        return cls(model.get_buffer("context_loc").numpy(), model.get_buffer("context_scale").numpy())

    def apply(self, context: Array | None) -> Array | None:
        """Return standardised contexts."""
        return None if context is None else (context - self.loc) / self.scale


def joined(entries: Sequence[Entry], table: Table, scale: ContextScale, log: Told) -> tuple[Members, Array]:
    """Return the mixture of the entries that are worth their time, and its held-out log-densities."""
    held = np.stack([entry.held for entry in entries], 1)
    some = held
    if len(held) > DECIDING:
        some = held[np.random.default_rng(table.seed).choice(len(held), DECIDING, replace=False)]
    # The best of those whose conditionals are formulas stays: completions are drawn from it.
    best = {
        kind: max((e for e in entries if e.kind == kind), key=_held_mean).name
        for kind in {entry.kind for entry in entries} & {"gaussian", "mixture"}
    }
    always = np.array([best.get(entry.kind) == entry.name for entry in entries])
    kept = pruned(some, always)
    chosen = [entry for entry, keep in zip(entries, kept, strict=True) if keep]
    weights = mixture_weights(held[:, kept])
    for entry, weight in sorted(zip(chosen, weights, strict=True), key=_second, reverse=True):
        log(f"weight {weight:.3f}: {entry.name}")
    views, view_of, member_of, flows = list[Bijection](), list[int](), list[int](), list[Flow]()
    for m, entry in enumerate(chosen):
        for flow, view in zip(entry.flows, entry.views, strict=True):
            place = next((k for k, known in enumerate(views) if known is view), len(views))
            if place == len(views):
                views.append(view)
            flows.append(flow.eval())
            view_of.append(place)
            member_of.append(m)
    names = [entry.name for entry in chosen]
    model = Members(views, flows, view_of, member_of, weights.tolist(), names, table.features)
    model.get_buffer("context_loc").copy_(torch.from_numpy(scale.loc))
    model.get_buffer("context_scale").copy_(torch.from_numpy(scale.scale))
    log_prob = mixed(held[:, kept], weights)
    log(f"the mixture: {float(np.mean(log_prob)):.3f} nats on {len(log_prob)} held-out rows")
    return model, log_prob


def _second(pair: tuple[Entry, float]) -> float:
    return pair[1]


def _held_mean(entry: Entry) -> float:
    return float(np.mean(entry.held))
