"""Training a candidate for some seconds, on the rows of one fold."""

from __future__ import annotations

import copy
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.errors import TrainingError
from diffeo.estimator.portfolio import Candidate
from diffeo.flows import Flow
from diffeo.training import TrainConfig, fit
from diffeo.training.seeds import derived_seed

#: What is told of a fit as it goes.
Report = Callable[[str], Any]

#: Held-out rows that a fit looks at as it goes, at most.
WATCHED = 4_096

#: The fewest training rows of a flow.
FEWEST = 16

#: Rows that are scored together.
PART = 65_536


@dataclass(frozen=True)
class Pair:
    """The rows of one fold in a view: what is trained on, and what is watched; contexts or None.

    ``offset`` is the view's mean log-determinant on the watched rows: with it, nats are per unit of the
    data.
    """

    train: Tensor
    watched: Tensor
    context: Tensor | None
    watched_context: Tensor | None
    offset: float


@dataclass(frozen=True)
class Trained:
    """A flow as a fit left it: its nats on the watched rows (higher is better), and what it took."""

    flow: Flow
    nats: float
    steps: int
    seconds: float
    stopped_by: str


def train(
    candidate: Candidate,
    rows: Pair,
    seconds: float,
    seed: int,
    start: Flow | None = None,
    patience: int | None = None,
    steps: int | None = None,
) -> Trained | None:
    """Return the candidate, trained for at most ``seconds`` with a learning rate that ends at zero.

    Args:
        candidate: what is trained.
        rows: on what.
        seconds: how long.
        seed: of its weights, the order of its rows, and its noise.
        start: a flow to go on from, a copy of which is trained.
        patience: evaluations without gain after which it stops.
        steps: if given, how many steps it takes at most, and the clock says nothing.

    None where the training gave up.
    """
    begun = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        context = 0 if rows.context is None else rows.context.shape[1]
        flow = candidate.build(rows.train.shape[1], context) if start is None else copy.deepcopy(start)
    validation: Any = rows.watched
    if rows.watched_context is not None:
        validation = (rows.watched, rows.watched_context)
    count = len(rows.train)
    noise = candidate.noise
    if bool((rows.train.amin(0) == rows.train.amax(0)).any()):
        noise = max(noise, 1e-3)
    config = TrainConfig(
        time_budget=None if steps is not None else max(0.05, seconds - (time.perf_counter() - begun)),
        max_steps=steps,
        batch_size=max(2, min(candidate.batch_size, count)),
        learning_rate=candidate.learning_rate if start is None else 0.6 * candidate.learning_rate,
        weight_decay=candidate.weight_decay,
        noise=noise,
        patience=patience,
        evaluate_every=None if patience is None else max(25, count // candidate.batch_size),
        seed=seed,
        device="cpu",
    )
    with warnings.catch_warnings():
        # What a fit warns of, its nats say: those of a flow that never had finite ones are −∞.
        warnings.simplefilter("ignore", UserWarning)
        try:
            result = fit(
                flow, rows.train, context=rows.context, validation=validation, config=config, progress=False
            )
        except TrainingError as error:
            logging.getLogger("diffeo.estimator").info("%s: %s", candidate.name, error)
            return None
    nats = rows.offset - result.best_held_out_nats
    return Trained(
        flow,
        nats if np.isfinite(nats) else -np.inf,
        result.steps,
        time.perf_counter() - begun,
        result.stopped_by,
    )


@torch.no_grad()
def scored(flow: Flow, u: Tensor, context: Tensor | None) -> NDArray[np.float64]:
    """Return log p(u | context) of each row, in float64."""
    found = np.empty(len(u))
    for start in range(0, len(u), PART):
        part = slice(start, start + PART)
        found[part] = flow.log_prob(u[part], None if context is None else context[part]).double().numpy()
    return found
