"""The steps themselves: gradients, AdamW, the average of the weights; nothing waits for the host."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Set
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from diffeo.bijections.fused import Fused, Sink
from diffeo.flows import Flow
from diffeo.objectives import Batch, Objective
from diffeo.training.blocks import settle
from diffeo.training.compute import computed
from diffeo.training.config import TrainConfig
from diffeo.training.flat import flats_of, has_fused, norm_of
from diffeo.training.graphs import CudaRecorder, Graphs, check_graphs
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
    """A flow being trained: it can take steps, and be captured and put back.

    Between :meth:`run` and :meth:`close` the trained parameters are views of a few buffers, so that what a
    step does beside the passes through the flow costs little: one copy of the gradients, one norm, one
    kernel for AdamW with clipping, one for the average.

    Attributes:
        flats: the buffers. ``flats[k].weights`` are the weights that AdamW moves; that attribute stays one
            tensor for the whole fit.
        changed: functions without arguments that are called whenever those have changed: after a step, a
            restore, and around an evaluation of the average. A copy of ``weights`` in another dtype is kept
            true by ``changed.append(lambda: shadow.copy_(flat.weights))``.
        rate: the learning rate of the last step.
        begun: the clock's time at which the run began, which a time budget counts from.
        precision, kernels: how steps are computed (:class:`~diffeo.training.compute.Computed`).
    """

    def __init__(
        self, flow: Flow, objective: Objective, train: Rows, plan: Plan, config: TrainConfig
    ) -> None:
        self.flow, self.objective, self.train, self.plan, self.config = flow, objective, train, plan, config
        self._computed = computed(flow, objective, config)
        self.precision, self.kernels = self._computed.precision, self._computed.kernels
        self.device = train.x.device
        self.parameters = [p for p in flow.parameters() if p.requires_grad]
        self.gated = has_fused(self.parameters)
        self.flats = flats_of(self.parameters, config.weight_decay, fused=self.gated)
        self._graphs: Graphs | None = None
        if config.graphs:
            check_graphs(objective, self.device, gated=self.gated)
            self._graphs = Graphs(self._step, CudaRecorder(self.device))
        self._sink = Sink(place for flat in self.flats for place in flat.places())
        for part in self._computed.flow.modules():
            if isinstance(part, Fused):
                part.sink = self._sink
        self.changed: list[Callable[[], object]] = []
        self.rate, self.begun = 0.0, time.perf_counter()
        self.average: dict[str, Tensor] = {}
        self._averages: list[Tensor] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []
        if config.averaging:
            self._averages = [flat.weights.clone() for flat in self.flats]
            self.average = self._named_averages()
        self._bad = torch.zeros((), dtype=torch.float32, device=self.device)
        self._order: tuple[int, Tensor] | None = None
        self._noise = _deviation(train.x) * config.noise if config.noise else None
        if self._computed.blocks:
            self._settle()

    def _named_averages(self) -> dict[str, Tensor]:
        """Return what is averaged, by name: views of the buffers for parameters, copies for the rest."""
        flat = {
            p: view
            for flat, average in zip(self.flats, self._averages, strict=True)
            for p, view in zip(flat.parameters, flat.views(average), strict=True)
        }
        names = dict(self.flow.named_parameters(remove_duplicate=False))
        return {
            name: flat[names[name]] if names.get(name) in flat else tensor.detach().clone()
            for name, tensor in weights_of(self.flow).items()
            if tensor.is_floating_point() and tensor.isfinite().all()
        }

    def close(self) -> None:
        """Give the parameters back the storage that they had, with their values as they are now."""
        self._graphs = None
        for flat in self.flats:
            flat.detach()

    def _settle(self) -> None:
        """Have layers compiled by torch, before the first step; nothing that is trained changes."""
        before = copied(weights_of(self.flow))
        self.flow.train()
        self._computed.flow.train()
        batches = [self.plan.batch(step) for step in range(self.plan.batches)]
        sizes = sorted({stop - start for _, start, stop in batches})
        settle(self._computed.blocks, partial(self.loss_of, 0), sizes)
        load_weights(self.flow, before)  # statistics of batches, which the loss may have moved

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
        seconds = 0.0 if self.plan.seconds is None else time.perf_counter() - self.begun
        batch = replace(self.train.take(self.rows_of(step)), progress=self.plan.progress(step, seconds))
        if self._noise is None:
            return batch
        draws = torch.Generator(self.device).manual_seed(derived_seed(self.config.seed, "noise", step))
        noise = torch.randn(batch.x.shape, generator=draws, dtype=batch.x.dtype, device=self.device)
        return replace(batch, x=torch.addcmul(batch.x, noise, self._noise))

    def loss_of(self, step: int) -> Tensor:
        """Return the objective on the batch of ``step``; the same every time it is asked."""
        batch = self.batch_of(step)
        seed_step(self.config.seed, step, self.device)
        return self.loss_on(batch)

    def loss_on(self, batch: Batch) -> Tensor:
        """Return the objective on a batch."""
        return self.objective.loss(self._computed.flow, batch)

    # -- steps -----------------------------------------------------------------------------------

    def run(self, first: int, last: int, rate: Callable[[int], float]) -> tuple[Tensor, Tensor]:
        """Take the steps from ``first`` up to ``last``; return each one's loss and gradient norm.

        From the first loss or norm that is not finite, no step changes the weights: a flag on the
        device gates the fused kernel, so that nothing has to be read back in between.
        """
        for flat in self.flats:
            flat.attach()
        self.flow.train()
        self._computed.flow.train()
        self._bad.zero_()
        self._buffers = self._averaged_buffers()
        take = self._graphs or self._step
        found: list[tuple[Tensor, Tensor]] = []
        for step in range(first, last):
            self.rate = rate(step)
            batch = self.batch_of(step)
            seed_step(self.config.seed, step, self.device)
            # Early on the average follows closely: (1 + k) / (10 + k), as in TensorFlow's.
            weight = 1 - min(self.config.averaging, (1 + step) / (10 + step))
            found.append(take(batch, self.rate, weight))
            self._tell()
        losses, norms = zip(*found, strict=True)
        return torch.stack(losses).to(self.train.x.dtype), torch.stack(norms).to(self.train.x.dtype)

    def _step(self, batch: Batch, rate: float | Tensor, weight: float | Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; return its loss and the norm of its gradient."""
        for p in self.parameters:
            p.grad = None
        loss, written = self._backward(batch)
        with torch.no_grad():
            for flat in self.flats:
                flat.gather(written)
            norm = norm_of(self.flats)
            torch.maximum(self._bad, (~torch.isfinite(loss + norm)).float(), out=self._bad)
            if not self.gated and bool(self._bad):
                return loss, norm
            limit = self.config.clip_norm
            # What the kernel divides gradients by: 1, or what brings them down to the limit.
            scale = None if limit is None else (norm / limit).clamp_min(1.0).float()
            for flat in self.flats:
                flat.update(rate, scale, self._bad)
            for average, flat in zip(self._averages, self.flats, strict=False):
                average.lerp_(flat.weights, _like(weight, average))
            for average, live in self._buffers:
                average.lerp_(live, _like(weight, average))
        return loss, norm

    def _backward(self, batch: Batch) -> tuple[Tensor, Set[int]]:
        """Return a batch's loss, and which gradients are in the buffers; the others are the parameters'."""
        rows = len(batch.x)
        if self.config.accumulate == 1 or rows == 1:
            with self._sink.opened():  # compiled layers write their gradients straight to the buffers
                loss = self.loss_on(batch)
                self._sink.forget()
                loss.backward()
            return loss.detach(), self._sink.written
        # The sink holds the gradient of one pass: those of several are added up by autograd.
        total = torch.zeros((), dtype=batch.x.dtype, device=self.device)
        contexts = _split(batch.context, -(-rows // self.config.accumulate))
        for x, context in zip(batch.x.split(-(-rows // self.config.accumulate)), contexts, strict=False):
            loss = self.loss_on(replace(batch, x=x, context=context)) * (len(x) / rows)
            loss.backward()
            total += loss.detach()
        return total, frozenset()

    def _tell(self) -> None:
        for hear in self.changed:
            hear()

    def _averaged_buffers(self) -> list[tuple[Tensor, Tensor]]:
        """Return pairs (average, tensor) of what is averaged and in no buffer of ours."""
        trained = {
            name for name, p in self.flow.named_parameters(remove_duplicate=False) if p.requires_grad
        }
        pairs = self._averaged_tensors().items()
        return [(self.average[name], live) for name, live in pairs if name not in trained]

    def _averaged_tensors(self) -> dict[str, Tensor]:
        return {k: v for k, v in weights_of(self.flow).items() if k in self.average} if self.average else {}

    # -- copies ----------------------------------------------------------------------------------

    def capture(self) -> Tensors:
        """Return copies of everything that steps change."""
        moments = {name: t for flat in self.flats for name, t in flat.moments().items()}
        return Tensors(copied(weights_of(self.flow)), moments, copied(self.average))

    @torch.no_grad()
    def restore(self, tensors: Tensors) -> None:
        """Put captured copies back; they stay as they are."""
        if self._graphs is not None:
            self._graphs.forget()
        for flat in self.flats:
            flat.attach()
            flat.load_moments(tensors.optimizer)
        load_weights(self.flow, tensors.weights)
        for name, tensor in tensors.average.items():
            self.average[name].copy_(tensor)
        self._tell()

    @contextlib.contextmanager
    def averaged(self) -> Generator[Flow]:
        """Give the flow with its averaged weights, where there are any; afterwards it has its own."""
        if not self.average:
            yield self.flow
            return
        own = copied(self._averaged_tensors())
        load_weights(self.flow, self.average)
        self._tell()
        try:
            yield self.flow
        finally:
            load_weights(self.flow, own)
            self._tell()


def _like(weight: float | Tensor, tensor: Tensor) -> float | Tensor:
    return weight.to(tensor.dtype) if isinstance(weight, Tensor) else weight


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
