"""Couplings and autoregressive layers in few passes over memory, with derivatives of their own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.bijection import Bijection
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.fused.network import network_of
from diffeo.bijections.fused.recovered import Recovered
from diffeo.bijections.fused.run import Kept, Run, Step
from diffeo.bijections.fused.sink import Sink
from diffeo.bijections.listening import all_listened_to
from diffeo.bijections.replay import Reversal, is_repeating
from diffeo.errors import ConfigError
from diffeo.kernels.native import Pool, Program, library
from diffeo.kernels.recorded import transformed
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context


class Fused(Bijection):
    """Layers one after another, from noise to data, for float32 rows on the processor.

    A tile of rows goes through a conditioner and its law while it is near the processor, forward and
    backward: :mod:`diffeo.kernels.native`. It has no parameters of its own: those of the layers are read,
    and receive the gradients.

    Args:
        steps: what is computed.
        pool: memory for what the way back needs.
        memory: "full", or "constant": activations are then recovered on the way back, as in
            :class:`~diffeo.bijections.Chain`.

    Attributes:
        sink: where gradients of the parameters are written while it is open, or None.
    """

    steps: tuple[Step, ...]

    def __init__(self, steps: Sequence[Step], pool: Pool, memory: str = "full") -> None:
        super().__init__()
        self.memory = memory
        self.sink: Sink | None = None
        self.steps = tuple(steps)
        # Submodules, so that a chain that sees to its own memory knows what the gradient is towards.
        self.layers = nn.ModuleList([step.layer for step in steps])
        self.pool = pool
        first, last = steps[0].layer, steps[-1].layer
        self.event_shape, self.event_ndim = first.event_shape, 1
        self.circles = (first.circles[0], last.circles[1])
        self.context_features = max(step.program.context for step in steps)
        self._runs = (Run(self.steps, pool, inverse=False), Run(self.steps[::-1], pool, inverse=True))

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return "repeated" where a layer goes feature by feature the other way."""
        found = {step.layer.reversal(inverse=inverse) for step in self.steps}
        return "repeated" if "repeated" in found else "undone"

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layers make of z, and the summed log-determinants."""
        return self._pass(z, context, inverse=False)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layers' inverses make of x, and the summed log-determinants."""
        return self._pass(x, context, inverse=True)

    def __reduce_ex__(self, protocol: object) -> Any:
        """Raise: what the kernels are told is of this process."""
        raise ConfigError(
            "what accelerate returned cannot be copied or pickled; expected the flow that it was given: "
            "copy that, and accelerate the copy."
        )

    def _pass(self, value: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        if not self._kernels_take(value):
            return self._by_layers(value, context, inverse=inverse)
        check_event("value", value, self.event_shape)
        value, context = join_batch(value, context_read(context, self.context_features), 1)
        context, mark = safe_context(context)
        rows = value.reshape(-1, value.shape[-1]).contiguous()
        given = None if context is None else context.reshape(-1, context.shape[-1]).contiguous()
        run = self._runs[inverse]
        if not inverse and any(isinstance(step.layer, Autoregressive) for step in self.steps):
            moved, log_det = self._unrolled(rows, given)
        else:
            moved, log_det = self._through(run, rows, given)
        moved, log_det = moved.reshape(value.shape), log_det.reshape(value.shape[:-1])
        return (moved, log_det) if mark is None else (moved + mark.unsqueeze(-1), log_det + mark)

    def _kernels_take(self, value: Tensor) -> bool:
        """Return whether the kernels see all that is asked of the layers: they read memory alone."""
        if torch.compiler.is_compiling() or transformed(value) or not value.is_cpu or all_listened_to():
            return False
        return value.dtype is torch.float32 and all(step.current() for step in self.steps)

    def _by_layers(self, value: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return what torch makes of the layers: they were moved, cast, or given other parameters."""
        message = "%d layers are computed by torch: they, or the rows, are not as the kernels were told"
        logging.getLogger("diffeo.bijections").debug(message, len(self.steps))
        total: Tensor | None = None
        for step in reversed(self.steps) if inverse else self.steps:
            direction: Any = step.layer.inverse if inverse else step.layer
            value, log_det = direction(value, context if step.program.context else None)
            total = log_det if total is None else total + log_det
        assert total is not None
        return value, total

    def _through(self, run: Run, rows: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what a run makes of rows, in one pass, with gradients where they are recorded."""
        rows = rows.contiguous()  # what torch computed before may lie in another order
        if not torch.is_grad_enabled():
            return run.through(rows, context, keep=False)[:2]
        passing: Any = Recovered if self.memory == "constant" else Kept
        # A pass that is repeated may be so once more, and what was written would be added again.
        claim = None if self.sink is None or is_repeating() else self.sink.claim(run.parameters)
        if claim is None:
            return passing.apply(run, None, rows, context, *run.parameters)
        assert self.sink is not None
        return passing.apply(run, claim, rows, context, self.sink.gate)

    def _unrolled(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what steps make of z, some of which go feature by feature; with gradients, in torch."""
        log_det = z.new_zeros(z.shape[0])
        for step in self.steps:
            if isinstance(step.layer, Coupling):
                z, more = self._through(Run((step,), self.pool, inverse=False), z, context)
                log_det = log_det + more
            elif torch.is_grad_enabled() or not _unrolls(step):
                z, more = step.layer(z, context)
                log_det = log_det + more
            else:
                z = z.contiguous()
                y = torch.empty_like(z)
                step.program.unroll(step.parameters, z, context, y, log_det)
                z = y
        return z, log_det


def _unrolls(step: Step) -> bool:
    """Return whether the kernels go the way of many passes, and nobody asked for another."""
    assert isinstance(step.layer, Autoregressive)
    return step.program.unrolls and step.layer.inverse_method in ("auto", "incremental")


def step_of(layer: Bijection, pool: Pool, *, half: bool = False, training: bool = False) -> Step | None:
    """Return ``layer`` as a step of a :class:`Fused` map, or None where that has no place.

    It takes couplings and autoregressive layers of vectors whose law the kernels know and whose conditioner
    is a perceptron, in float32, on a processor for which the kernels can be compiled.

    Args:
        layer: what is computed.
        pool: where memory is taken from.
        half: whether products are of bfloat16; laws, sums and log-determinants are of float32.
        training: whether a conditioner that drops units does so.
    """
    if type(layer) not in (Coupling, Autoregressive) or layer.event_ndim != 1:
        return None
    assert isinstance(layer, Coupling | Autoregressive)
    compiled, conditioner = layer.law.compiled(), layer.conditioner
    if compiled is None or conditioner.event_shape is not None:
        return None
    found = network_of(conditioner, training=training)
    if found is None or library() is None:  # asked last: it compiles them
        return None
    network, parameters = found
    features, context = layer.event_shape[0], conditioner.context
    seen = moved = list(range(features))
    levels = layer.conditioner.levels if isinstance(layer, Autoregressive) else None
    if isinstance(layer, Coupling):
        split: list[int] = layer.get_buffer("_split").tolist()
        seen, moved = split[: layer.mask.n_passed], split[layer.mask.n_passed :]
    n = layer.law.n_params
    program = Program(network, compiled, n, features, moved, seen, context, levels=levels, half=half)
    return Step(layer, program, parameters, pool)
