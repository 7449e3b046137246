"""Training a VAE: steps along the bound, and the weights of the best held-out one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.friends.learning import clipped, learn
from diffeo.friends.protocol import Report
from diffeo.training.seeds import generator

if TYPE_CHECKING:
    from diffeo.friends.vae.model import VAE

#: The part of the rows that is held out, how many at most, and from how many rows on.
_HELD, _MOST_HELD, _FEWEST = 0.1, 2_000, 40

#: Draws of z for each held-out row.
_HELD_DRAWS = 8

#: The part of a run over which the weight of log p(z) − log q(z | x) rises to 1, so that z is used at
#: all; and the steps after which it has, however long the run may be.
_RISE, _RISEN = 0.5, 2_000


def train(
    model: VAE,
    seen: Tensor,
    scored: Tensor,
    begun: float,
    seconds: float | None,
    report: Report | None,
) -> dict[str, Any]:
    """Train a model that has just been made; return the steps, what ended them and the held-out bound."""
    order = torch.randperm(len(seen), generator=generator(model.seed, "split"))
    held = min(_MOST_HELD, round(_HELD * len(seen))) if len(seen) >= _FEWEST else 0
    apart, rest = order[:held], order[held:]
    seen_held, scored_held = seen[apart], scored[apart]
    seen, scored = seen[rest], scored[rest].float()
    noise = torch.Generator().manual_seed(model.seed)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=model.learning_rate, betas=(0.9, 0.99), fused=True)
    with torch.no_grad():
        model.eval().latents.initialise(model.encoder(seen[:1000]), noise)
    model.train()
    best: tuple[float, dict[str, Tensor]] = (-math.inf, {})
    stale, weight, count = 0, 0.0, 0

    def step(rows: Tensor, progress: float) -> bool:
        nonlocal weight, count
        weight = min(1.0, max(progress / _RISE, count / _RISEN))
        count += 1
        for group in optimizer.param_groups:
            group["lr"] = model.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
        of_x, of_z = model.weights(seen[rows], scored[rows], 1, noise)
        loss = -(of_x + weight * of_z).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not clipped(parameters):
            return False
        optimizer.step()
        return True

    def look(taken: int) -> tuple[str, bool]:
        nonlocal best, stale
        if not held:
            return "no rows are held out", False
        model.eval()
        with torch.no_grad():
            of_x, of_z = model.weights(seen_held, scored_held, _HELD_DRAWS, generator(model.seed, "held"))
        model.train()
        bound = float((of_x + of_z).mean())
        stale = 0 if bound > best[0] or weight < 1 else stale + 1
        if bound > best[0]:
            best = bound, {name: tensor.clone() for name, tensor in model.state_dict().items()}
        told = f"held-out bound {bound:.3f} nats of standardised rows"
        return told, model.patience is not None and stale >= model.patience

    every = max(50, math.ceil(len(seen) / model.steps.batch))
    outcome = learn(
        len(seen), model.steps, step, look, every=every, begun=begun, seconds=seconds, report=report
    )
    if best[1]:
        model.load_state_dict(best[1])
    return {"steps": float(outcome.steps), "stopped_by": outcome.stopped_by}
