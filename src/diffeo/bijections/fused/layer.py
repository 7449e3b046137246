"""Couplings and autoregressive layers in few passes over memory, with derivatives of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.bijection import Bijection
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.fused.network import network_of
from diffeo.kernels.native import Kept, Pool, Program, library
from diffeo.kernels.shapes import check_event, context_read, join_batch, safe_context


class Step:
    """One layer of a :class:`Fused` map: what the kernels are told, and the parameters that they read."""

    def __init__(
        self, layer: Coupling | Autoregressive, program: Program, parameters: list[Tensor]
    ) -> None:
        self.layer, self.program, self.parameters = layer, program, parameters


class Fused(Bijection):
    """Layers one after another, from noise to data, for float32 rows on the processor.

    A tile of rows goes through a conditioner and its law while it is near the processor, forward and
    backward: :mod:`diffeo.kernels.native`. There are no parameters here: those of the layers are read, and
    receive the gradients.

    Args:
        steps: what is computed.
        pool: memory for what the way back needs.
    """

    steps: tuple[Step, ...]

    def __init__(self, steps: Sequence[Step], pool: Pool) -> None:
        super().__init__()
        self.steps = tuple(steps)  # no submodules: the parameters belong to the layers alone
        self.pool = pool
        first, last = steps[0].layer, steps[-1].layer
        self.event_shape, self.event_ndim = first.event_shape, 1
        self.circles = (first.circles[0], last.circles[1])
        self.context_features = max(step.program.context for step in steps)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layers make of z, and the summed log-determinants."""
        return self._pass(self.steps, z, context, inverse=False)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layers' inverses make of x, and the summed log-determinants."""
        return self._pass(self.steps[::-1], x, context, inverse=True)

    def _pass(
        self, steps: tuple[Step, ...], value: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        check_event("value", value, self.event_shape)
        value, context = join_batch(value, context_read(context, self.context_features), 1)
        context, mark = safe_context(context)
        rows = value.reshape(-1, value.shape[-1]).contiguous()
        given = None if context is None else context.reshape(-1, context.shape[-1]).contiguous()
        if not inverse and any(isinstance(step.layer, Autoregressive) for step in steps):
            moved, log_det = self._unrolled(steps, rows, given)
        elif torch.is_grad_enabled():
            parameters = [p for step in steps for p in step.parameters]
            moved, log_det = _Pass.apply(steps, self.pool, inverse, rows, given, *parameters)  # pyright: ignore
        else:
            moved, log_det = _through(steps, self.pool, rows, given, inverse)
        moved, log_det = moved.reshape(value.shape), log_det.reshape(value.shape[:-1])
        return (moved, log_det) if mark is None else (moved + mark.unsqueeze(-1), log_det + mark)

    def _unrolled(
        self, steps: tuple[Step, ...], z: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what steps make of z, some of which go feature by feature; with gradients, in torch."""
        log_det = z.new_zeros(z.shape[0])
        for step in steps:
            if isinstance(step.layer, Coupling):
                z, more = self._pass((step,), z, context, inverse=False)
                log_det = log_det + more
            elif torch.is_grad_enabled() or not step.program.unrolls:
                z, more = step.layer(z, context)
                log_det = log_det + more
            else:
                y = torch.empty_like(z)
                step.program.unroll(step.parameters, z, context, y, log_det)
                z = y
        return z, log_det


def _through(
    steps: Sequence[Step],
    pool: Pool,
    x: Tensor,
    context: Tensor | None,
    inverse: bool,
    kept: list[tuple[Tensor, Kept]] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the value and the log-determinant; what the way back needs goes to ``kept``."""
    log_det = x.new_zeros(x.shape[0])
    for at, step in enumerate(steps):
        program = step.program
        y = torch.empty_like(x) if at + 1 == len(steps) else pool.take(x.numel()).view(x.shape)
        packed = program.pack(step.parameters)
        own = program.forward(packed, x, context, y, log_det, inverse=inverse, keep=kept is not None)
        if kept is not None:
            assert own is not None
            kept.append((x, own))
        else:
            pool.give(packed, x if at else None)
        x = y
    return x, log_det


class _Pass(torch.autograd.Function):
    """One direction, and its gradients: those of the formulas, not of recorded operations."""

    @staticmethod
    def forward(
        ctx: Any,
        steps: tuple[Step, ...],
        pool: Pool,
        inverse: bool,
        x: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        kept: list[tuple[Tensor, Kept]] = []
        value, log_det = _through(steps, pool, x, context, inverse, kept)
        ctx.steps, ctx.pool, ctx.inverse, ctx.kept = steps, pool, inverse, kept
        ctx.save_for_backward(x, *parameters)  # says so if one was changed before the way back
        return value, log_det

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_det: Tensor
    ) -> Any:
        kept: list[tuple[Tensor, Kept]] | None = ctx.kept
        if kept is None:
            raise RuntimeError(
                "this graph was gone backward through before, and what it kept is gone; expected one pass: "
                "compute the loss anew."
            )
        ctx.kept = None
        x = ctx.saved_tensors[0]
        pool: Pool = ctx.pool
        wanted_x, wanted_context = ctx.needs_input_grad[3], ctx.needs_input_grad[4]
        found: list[Tensor] = []
        total: Tensor | None = None
        g, to_log_det = to_value.contiguous(), to_log_det.contiguous()
        for at, step in reversed(list(enumerate(ctx.steps))):
            given, own = kept.pop()
            given = given if at else x
            to_x = torch.empty_like(x) if at == 0 else pool.take(x.numel()).view(x.shape)
            to_input = at > 0 or wanted_x or wanted_context
            to_context, towards = step.program.backward(
                given, own, g, to_log_det, to_x, inverse=ctx.inverse, to_input=to_input
            )
            pool.give(*own, given if at else None, g if at + 1 < len(ctx.steps) else None)
            if to_context is not None and wanted_context:
                total = to_context if total is None else total + to_context
            found = [*towards, *found]
            g = to_x
        return None, None, None, g if wanted_x else None, total, *found


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
    if compiled is None or conditioner.event_shape is not None or library() is None:
        return None
    found = network_of(conditioner, training=training)
    if found is None:
        return None
    network, parameters = found
    features, context = layer.event_shape[0], conditioner.context
    seen = moved = list(range(features))
    levels = layer.conditioner.levels if isinstance(layer, Autoregressive) else None
    if isinstance(layer, Coupling):
        split: list[int] = layer.get_buffer("_split").tolist()
        seen, moved = split[: layer.mask.n_passed], split[layer.mask.n_passed :]
    n = layer.law.n_params
    program = Program(
        network, compiled, n, features, moved, seen, context, levels=levels, half=half, pool=pool
    )
    return Step(layer, program, parameters)
