"""The steps themselves: gradients, AdamW, the average of the weights; nothing waits for the host."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import get_ema_multi_avg_fn

from diffeo.flows import Flow
from diffeo.objectives import Batch, Objective
from diffeo.training.config import TrainConfig
from diffeo.training.plan import Plan
from diffeo.training.seeds import derived_seed, generator, seed_step
from diffeo.training.split import Rows


@dataclass(frozen=True)
class Tensors:
    """Copies of everything that a step changes.

    Attributes:
        weights: parameters and buffers of the flow, by name.
        optimizer: AdamW's moments and step counts, as ``"3/exp_avg"`` (parameter number, moment).
        average: averaged parameters and floating buffers, by name; empty without averaging.
    """

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    average: dict[str, Tensor]


def weights_of(flow: Flow) -> dict[str, Tensor]:
    """Return the live tensors of a flow's state, by name."""
    return {name: tensor for name, tensor in flow.state_dict().items() if isinstance(tensor, Tensor)}


@torch.no_grad()
def load_weights(flow: Flow, weights: dict[str, Tensor]) -> None:
    """Copy ``weights`` into the flow's own tensors."""
    live = weights_of(flow)
    for name, tensor in weights.items():
        live[name].copy_(tensor)


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return clones."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


class Optimisation:
    """A flow being trained: it can take steps, and be captured and put back."""

    def __init__(
        self, flow: Flow, objective: Objective, train: Rows, plan: Plan, config: TrainConfig
    ) -> None:
        self.flow, self.objective, self.train, self.plan, self.config = flow, objective, train, plan, config
        self.device = train.x.device
        self.parameters = [p for p in flow.parameters() if p.requires_grad]
        groups = [
            # Decay pulls towards zero: right for matrices, wrong for biases, scales and locations.
            {"params": [p for p in self.parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]] or groups[:1]
        self.gated = True
        try:
            self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        except RuntimeError:  # this device has no fused kernel
            self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
            self.gated = False
        self.average: dict[str, Tensor] = {}
        if config.averaging:
            self.average = copied(
                {k: v for k, v in weights_of(flow).items() if v.is_floating_point() and v.isfinite().all()}
            )
        self._order: tuple[int, Tensor] | None = None
        self._noise = _deviation(train.x) * config.noise if config.noise else None

    # -- rows ------------------------------------------------------------------------------------

    def rows_of(self, step: int) -> Tensor:
        """Return the positions, among the training rows, of the batch of ``step``."""
        epoch, start, stop = self.plan.batch(step)
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(len(self.train), generator=generator(self.config.seed, "order", epoch))
            self._order = epoch, order.to(self.device)
        return self._order[1][start:stop]

    def batch_of(self, step: int) -> Batch:
        """Return the batch of ``step``, with its noise."""
        batch = self.train.take(self.rows_of(step))
        if self._noise is None:
            return batch
        draws = torch.Generator(self.device).manual_seed(derived_seed(self.config.seed, "noise", step))
        noise = torch.randn(batch.x.shape, generator=draws, dtype=batch.x.dtype, device=self.device)
        return Batch(torch.addcmul(batch.x, noise, self._noise), batch.context)

    def loss_of(self, step: int) -> Tensor:
        """Return the objective on the batch of ``step``; the same every time it is asked."""
        batch = self.batch_of(step)
        seed_step(self.config.seed, step, self.device)
        return self.objective.loss(self.flow, batch)

    # -- steps -----------------------------------------------------------------------------------

    def run(self, first: int, last: int, rate: Callable[[int], float]) -> tuple[Tensor, Tensor]:
        """Take the steps from ``first`` up to ``last``; return each one's loss and gradient norm.

        From the first loss or norm that is not finite, no step changes the weights: a flag on the
        device gates the fused kernel, so that nothing has to be read back in between.
        """
        count = last - first
        losses = torch.zeros(count, dtype=self.train.x.dtype, device=self.device)
        norms = torch.zeros_like(losses)
        bad = torch.zeros((), dtype=torch.float32, device=self.device)
        limit = math.inf if self.config.clip_norm is None else self.config.clip_norm
        live = self._averaged_tensors()
        self.flow.train()
        for k in range(count):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(first + k)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss_of(first + k)
            loss.backward()
            norm = clip_grad_norm_(self.parameters, limit)
            with torch.no_grad():
                losses[k], norms[k] = loss, norm
                bad = torch.maximum(bad, (~torch.isfinite(loss + norm)).float())
            if self.gated:
                self.optimizer.found_inf = bad  # pyright: ignore[reportAttributeAccessIssue]
            elif bool(bad):
                continue
            self.optimizer.step()
            if live:
                # Early on the average follows closely: (1 + k) / (10 + k), as in TensorFlow's.
                decay = min(self.config.averaging, (1 + first + k) / (10 + first + k))
                get_ema_multi_avg_fn(decay)([self.average[n] for n in live], list(live.values()), k)
        return losses, norms

    def _averaged_tensors(self) -> dict[str, Tensor]:
        return {k: v for k, v in weights_of(self.flow).items() if k in self.average} if self.average else {}

    # -- copies ----------------------------------------------------------------------------------

    def capture(self) -> Tensors:
        """Return copies of everything that steps change."""
        moments = {
            f"{k}/{name}": value
            for k, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return Tensors(copied(weights_of(self.flow)), copied(moments), copied(self.average))

    def restore(self, tensors: Tensors) -> None:
        """Put captured copies back; they stay as they are."""
        load_weights(self.flow, tensors.weights)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.optimizer.items():
            number, moment = name.split("/")
            state.setdefault(int(number), {})[moment] = tensor.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.average = copied(tensors.average)

    @contextlib.contextmanager
    def averaged(self) -> Generator[Flow]:
        """Give the flow with its averaged weights, where there are any; afterwards it has its own."""
        if not self.average:
            yield self.flow
            return
        own = copied(self._averaged_tensors())
        load_weights(self.flow, self.average)
        try:
            yield self.flow
        finally:
            load_weights(self.flow, own)


def _deviation(x: Tensor) -> Tensor:
    """Return each column's standard deviation, 1 for a constant column."""
    deviation = x.double().std(0) if x.device.type != "mps" else x.std(0)
    return torch.where(deviation > 0, deviation, 1.0).to(x.dtype)


@torch.no_grad()
def held_out_nats(flow: Flow, held: Rows, size: int) -> float:
    """Return −mean log p(x | c) over held-out rows, in nats, in evaluation mode."""
    flow.eval()
    total = 0.0
    for x, context in zip(held.x.split(size), _split(held.context, size), strict=False):
        total -= float(flow(x, context).cpu().double().sum())
    return total / len(held)


def _split(context: Tensor | None, size: int) -> Generator[Tensor | None]:
    if context is not None:
        yield from context.split(size)
    while context is None:
        yield None
