"""Training a GAN: the critic's steps, the generator's, and the moving average that is kept."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from diffeo.friends.gan.losses import GAMES, critic_loss, generator_loss
from diffeo.friends.learning import clipped, learn
from diffeo.friends.protocol import Report

if TYPE_CHECKING:
    from diffeo.friends.gan.model import GAN

#: How much faster the critic learns.
_FASTER = 2.0

#: The part of a run from which on learning rates fall to nothing.
_FALL = 0.5


def train(
    model: GAN, x: Tensor, begun: float, seconds: float | None, report: Report | None
) -> dict[str, Any]:
    """Train a model that has just been made; return the steps and what ended them."""
    model.train()
    generator, critic, noise = model.generator, model.critic, torch.Generator().manual_seed(model.seed)
    average = copy.deepcopy(generator)
    betas, size = GAMES[model.loss].betas, min(model.steps.batch, len(x))
    of_critic, of_generator = list(critic.parameters()), list(generator.parameters())
    rates = (model.learning_rate * _FASTER, model.learning_rate)
    optimizers = [
        torch.optim.Adam(parameters, lr=rate, betas=betas, fused=True)
        for parameters, rate in zip((of_critic, of_generator), rates, strict=True)
    ]
    moves = 0
    last = {"critic": math.nan, "generator": math.nan}

    def drawn() -> Tensor:
        return generator(torch.randn(size, model.latent, generator=noise))

    def taken(cost: Tensor, which: int, parameters: list[nn.Parameter]) -> bool:
        optimizers[which].zero_grad(set_to_none=True)
        cost.backward()
        good = clipped(parameters)
        if good:
            optimizers[which].step()
        return good

    def step(rows: Tensor, progress: float) -> bool:
        nonlocal moves
        fall = min(1.0, (1 - progress) / (1 - _FALL))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * fall
        for k in range(model.critic_steps):
            if k:
                rows = torch.randint(len(x), (size,), generator=noise)
            with torch.no_grad():
                fake = drawn()
            share = torch.rand(size, 1, generator=noise)
            cost = critic_loss(model.loss, critic, x[rows], fake, model.penalty, share)
            if not taken(cost, 0, of_critic):
                return False
            last["critic"] = float(cost.detach())
        critic.requires_grad_(False)
        cost = generator_loss(model.loss, critic(drawn()))
        good = taken(cost, 1, of_generator)
        critic.requires_grad_(True)
        last["generator"] = float(cost.detach())
        if good:
            with torch.no_grad():
                # A young average would still remember the first weights: its decay begins at a half.
                decay = min(model.averaging, 1 - 1 / (2 + moves))
                for kept, new in zip(average.parameters(), of_generator, strict=True):
                    kept.lerp_(new, 1 - decay)
            moves += 1
        return good

    def look(_: int) -> tuple[str, bool]:
        return f"critic {last['critic']:.3f}, generator {last['generator']:.3f}", False

    outcome = learn(len(x), model.steps, step, look, every=100, begun=begun, seconds=seconds, report=report)
    generator.load_state_dict(average.state_dict())
    critic.requires_grad_(True)
    return {"steps": float(outcome.steps), "stopped_by": outcome.stopped_by}
