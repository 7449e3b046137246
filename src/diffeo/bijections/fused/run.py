"""Layers one after another, forth and back: with activations that were kept, or that are recovered.

Recovered activations follow Gomez, Ren, Urtasun & Grosse, *The reversible residual network* (2017), section
3: a coupling's input comes from its output by the other direction, which computes the same network on the
same numbers, so that one pass gives both the input and all that its gradient needs. An autoregressive layer
keeps its input, and is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.coupling import Coupling
from diffeo.kernels.native import Activations, Pool, Program

#: Layers between two inputs that are kept when others are recovered.
SPAN = 16

#: What recovering may move an input by, relative to max(1, |x|); beyond it the layers are repeated.
DRIFT = 2e-5

_GONE = (
    "this graph was gone backward through before, and what it kept is gone; expected one pass: compute the "
    "loss anew."
)


class Step:
    """One layer of a fused map: what the kernels are told, and the parameters that they read."""

    def __init__(
        self, layer: Coupling | Autoregressive, program: Program, parameters: list[Tensor]
    ) -> None:
        self.layer, self.program, self.parameters = layer, program, parameters


class Run:
    """Some steps in the order in which a direction takes them.

    Args:
        steps: the layers.
        pool: where memory is taken from.
        context: (rows, features), of all that read one.
        inverse: the direction.
    """

    def __init__(self, steps: Sequence[Step], pool: Pool, context: Tensor | None, inverse: bool) -> None:
        self.steps, self.pool, self.context, self.inverse = tuple(steps), pool, context, inverse

    def like(self, x: Tensor) -> Tensor:
        """Return memory of the shape of ``x``."""
        return self.pool.take(x.numel(), exact=True).view(x.shape)

    def through(
        self, x: Tensor, kept: list[tuple[Tensor, Activations]] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-determinant; what the way back needs goes to ``kept``."""
        log_det = x.new_zeros(x.shape[0])
        for at, step in enumerate(self.steps):
            y = torch.empty_like(x) if at + 1 == len(self.steps) else self.like(x)
            own = self.step(step, x, y, log_det, keep=kept is not None)
            if kept is not None and own is not None:
                kept.append((x, own))
            elif at:
                self.pool.give(x)
            x = y
        return x, log_det

    def step(
        self, step: Step, x: Tensor, y: Tensor, log_det: Tensor, *, keep: bool, back: bool = False
    ) -> Activations | None:
        """Write what one step makes of ``x`` to ``y``; with ``back``, what its other direction does."""
        packed = step.program.pack(step.parameters)
        inverse = self.inverse != back
        own = step.program.forward(packed, x, self.context, y, log_det, inverse=inverse, keep=keep)
        if own is None:
            self.pool.give(packed)
        return own

    def step_back(
        self, step: Step, x: Tensor, own: Activations, g: Tensor, to_log_det: Tensor, *, to_input: bool
    ) -> tuple[Tensor, Tensor | None, list[Tensor]]:
        """Return the gradients of one step towards its input, the context and its parameters."""
        to_x = self.like(x)
        to_context, found = step.program.backward(
            x, own, g, to_log_det, to_x, inverse=self.inverse, to_input=to_input
        )
        self.pool.give(*own)
        return to_x, to_context, found


class _Gradients:
    """Gradients of the value, the context and the parameters, as they come together: last step first."""

    def __init__(self, to_value: Tensor) -> None:
        self.g, self.context, self.parameters = to_value, None, list[list[Tensor]]()

    def take(self, g: Tensor, to_context: Tensor | None, found: list[Tensor]) -> None:
        self.g = g
        self.parameters.append(found)
        if to_context is not None:
            self.context = to_context if self.context is None else self.context + to_context

    def answer(self, ctx: Any) -> tuple[Any, ...]:
        """Return the gradients of a function's arguments: the run, x, the context, the parameters."""
        found = [each for step in reversed(self.parameters) for each in step]
        to_x = self.g if ctx.needs_input_grad[1] else None
        return None, to_x, self.context if ctx.needs_input_grad[2] else None, *found


class Kept(torch.autograd.Function):
    """A run whose activations are kept; its gradients are those of formulas, not of recorded operations."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, x: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-determinant."""
        kept: list[tuple[Tensor, Activations]] = []
        value, log_det = run.through(x, kept)
        ctx.run, ctx.kept = run, kept
        ctx.save_for_backward(x, *parameters)  # says so if one was changed before the way back
        return value, log_det

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_det: Tensor
    ) -> Any:
        """Return the gradients."""
        kept: list[tuple[Tensor, Activations]] | None = ctx.kept
        if kept is None:
            raise RuntimeError(_GONE)
        ctx.kept = None
        run: Run = ctx.run
        x = ctx.saved_tensors[0]
        all_wanted = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        gradients = _Gradients(to_value.contiguous())
        to_log_det = to_log_det.contiguous()
        for at, step in reversed(list(enumerate(run.steps))):
            given, own = kept.pop()
            before = gradients.g
            found = run.step_back(
                step, given if at else x, own, before, to_log_det, to_input=at > 0 or all_wanted
            )
            gradients.take(*found)
            run.pool.give(given if at else None, before if at + 1 < len(run.steps) else None)
        return gradients.answer(ctx)


class Recovered(torch.autograd.Function):
    """A run that keeps the input of every :data:`SPAN`-th step, and recovers the others on the way back."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, x: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-determinant."""
        inputs: dict[int, Tensor] = {}
        log_det, value = x.new_zeros(x.shape[0]), x
        for at, step in enumerate(run.steps):
            y = torch.empty_like(x) if at + 1 == len(run.steps) else run.like(x)
            run.step(step, value, y, log_det, keep=False)
            if at % SPAN == 0 or isinstance(step.layer, Autoregressive):
                inputs[at] = value
            else:
                run.pool.give(value)
            value = y
        ctx.run, ctx.inputs = run, {at: each for at, each in inputs.items() if at}
        ctx.save_for_backward(x, value, context, *parameters)
        return value, log_det

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_det: Tensor
    ) -> Any:
        """Return the gradients."""
        if ctx.inputs is None:
            raise RuntimeError(_GONE)
        run: Run = ctx.run
        x, value = ctx.saved_tensors[:2]
        inputs: dict[int, Tensor] = {0: x, **ctx.inputs}
        ctx.inputs = None  # they go back to the pool
        all_wanted = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        gradients = _Gradients(to_value.contiguous())
        to_log_det = to_log_det.contiguous()
        for start in range((len(run.steps) - 1) // SPAN * SPAN, -1, -SPAN):
            steps = list(enumerate(run.steps))[start : start + SPAN]
            first = inputs[start]
            span = _Span(run, steps, first, inputs, to_log_det, all_wanted or start > 0)
            found = span.recovered(value, gradients.g)
            if found is None:
                message = "recovered activations had drifted: %d layers are repeated"
                logging.getLogger("diffeo.bijections").info(message, len(steps))
                found = span.repeated(gradients.g)
            for each in found:
                gradients.take(*each)
            spent = [each[0] for each in found[:-1]] + span.spent
            run.pool.give(*spent, value if start + SPAN < len(run.steps) else None)
            value = first
        return gradients.answer(ctx)


class _Span:
    """Steps between two inputs that were kept, on the way back."""

    def __init__(
        self,
        run: Run,
        steps: list[tuple[int, Step]],
        first: Tensor,
        inputs: dict[int, Tensor],
        to_log_det: Tensor,
        all_wanted: bool,
    ) -> None:
        self.run, self.steps, self.first, self.inputs = run, steps, first, inputs
        self.to_log_det, self.all_wanted = to_log_det, all_wanted
        self.spent: list[Tensor] = []

    def recovered(
        self, value: Tensor, g: Tensor
    ) -> list[tuple[Tensor, Tensor | None, list[Tensor]]] | None:
        """Return each step's gradients from the span's output, last first; None if it has drifted."""
        unused = torch.empty_like(self.to_log_det)
        found: list[tuple[Tensor, Tensor | None, list[Tensor]]] = []
        for at, step in reversed(self.steps):
            known = self.inputs.get(at)
            if isinstance(step.layer, Coupling):
                given = self._memory()
                own = self.run.step(step, value, given, unused, keep=True, back=True)
                if known is not None and _drifted(given, known):
                    return None
            else:
                assert known is not None
                given = known
                own = self.run.step(step, given, self._memory(), unused, keep=True)
            assert own is not None
            wanted = self.all_wanted or at > self.steps[0][0]
            found.append(self.run.step_back(step, given, own, g, self.to_log_det, to_input=wanted))
            g, value = found[-1][0], given
        return found

    def repeated(self, g: Tensor) -> list[tuple[Tensor, Tensor | None, list[Tensor]]]:
        """Return the same from the span's input, step by step forth and then back."""
        unused = torch.empty_like(self.to_log_det)
        given = [self.first]
        for _, step in self.steps[:-1]:
            given.append(self._memory())
            self.run.step(step, given[-2], given[-1], unused, keep=False)
        found: list[tuple[Tensor, Tensor | None, list[Tensor]]] = []
        for (at, step), x in zip(reversed(self.steps), reversed(given), strict=True):
            own = self.run.step(step, x, self._memory(), unused, keep=True)
            assert own is not None
            wanted = self.all_wanted or at > self.steps[0][0]
            found.append(self.run.step_back(step, x, own, g, self.to_log_det, to_input=wanted))
            g = found[-1][0]
        return found

    def _memory(self) -> Tensor:
        self.spent.append(self.run.like(self.first))
        return self.spent[-1]


def _drifted(found: Tensor, known: Tensor) -> bool:
    """Return whether an input came back as another; rows that were not finite are not looked at."""
    off = (found - known).abs() / known.abs().clamp(min=1.0)
    return bool((~(off <= DRIFT).all(-1) & known.isfinite().all(-1)).any())
