"""Runs of layers whose activations are recovered on the way back.

Recovered activations follow Gomez, Ren, Urtasun & Grosse, *The reversible residual network* (2017), section
3: a coupling's input comes from its output by the other direction, which computes the same network on the
same numbers, so that one pass gives both the input and all that its gradient needs. An autoregressive layer
keeps its input, and is repeated.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.drift import allowed, code_weights, differ
from diffeo.bijections.fused.run import GONE, Run, Step, check_first_order, gradients_to
from diffeo.bijections.fused.sink import Claim
from diffeo.kernels.native import Passed

#: Layers between two inputs that are kept when others are recovered.
SPAN = 16

#: What recovering may move an input by, relative to max(1, |x|); beyond it the layers are repeated.
DRIFT = 2e-5

#: The code of a row that is not finite, which is not looked at.
_UNKNOWN = -(2**15)

#: A step's gradients towards its input, the context and its parameters.
Found = tuple[Tensor, Tensor | None, list[Tensor]]


class _Gradients:
    """Gradients of the value, the context and the parameters, as they come together: last step first."""

    def __init__(self, to_value: Tensor, claim: Claim | None) -> None:
        self.g, self.context, self.parameters = to_value, None, list[list[Tensor]]()
        self.claim = claim

    def take(self, g: Tensor, to_context: Tensor | None, found: list[Tensor]) -> None:
        self.g = g
        self.parameters.append(found)
        if to_context is not None:
            self.context = to_context if self.context is None else self.context + to_context

    def answer(self, ctx: Any) -> tuple[Any, ...]:
        """Return the gradients of the arguments: run, claim, x, context, parameters or the gate."""
        found: list[Tensor | None] = [each for step in reversed(self.parameters) for each in step]
        if self.claim is not None:
            self.claim.tell()
            found = [None]
        to_x = self.g if ctx.needs_input_grad[2] else None
        return None, None, to_x, self.context if ctx.needs_input_grad[3] else None, *found


class Recovered(torch.autograd.Function):
    """A run that keeps the input of every :data:`SPAN`-th step, and recovers the others on the way back.

    Of the others two bytes a row are kept (:func:`_code`), by which a row that comes back wrong is seen.
    """

    @staticmethod
    def forward(
        ctx: Any, run: Run, claim: Claim | None, x: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-determinant; with a claim, ``parameters`` are its sink's gate."""
        inputs: dict[int, Tensor] = {}
        codes: dict[int, Tensor] = {}
        weights = _weights(x)
        log_det, value = x.new_zeros(x.shape[0]), x
        for at, step in enumerate(run.steps):
            y = torch.empty_like(x) if at + 1 == len(run.steps) else run.like(x)
            step.tables[run.inverse].forward(step.parameters, value, context, y, log_det, keep=False)
            if at % SPAN == 0 or isinstance(step.layer, Autoregressive):
                inputs[at] = value
            else:
                codes[at] = _code(value, weights)
                run.pool.give(value)
            value = y
        ctx.run, ctx.claim, ctx.codes = run, claim, codes
        ctx.inputs = {at: each for at, each in inputs.items() if at}
        ctx.save_for_backward(x, value, context, *parameters)
        return value, log_det

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_det: Tensor
    ) -> Any:
        """Return the gradients."""
        check_first_order(to_value)
        if ctx.inputs is None:
            raise RuntimeError(GONE)
        run: Run = ctx.run
        x, value, context = ctx.saved_tensors[:3]
        inputs: dict[int, Tensor] = {0: x, **ctx.inputs}
        ctx.inputs = None  # they go back to the pool
        all_wanted = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        claim: Claim | None = ctx.claim
        gradients = _Gradients(to_value.contiguous(), claim)
        places = None if claim is None else _places(run, claim)
        to_log_det = to_log_det.contiguous()
        for start in range((len(run.steps) - 1) // SPAN * SPAN, -1, -SPAN):
            steps = list(enumerate(run.steps))[start : start + SPAN]
            first = inputs[start]
            span = _Span(
                run,
                context,
                steps,
                inputs,
                ctx.codes,
                to_log_det,
                places,
                all_wanted=all_wanted or start > 0,
            )
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
        context: Tensor | None,
        steps: list[tuple[int, Step]],
        inputs: dict[int, Tensor],
        codes: dict[int, Tensor],
        to_log_det: Tensor,
        places: Sequence[Sequence[Tensor]] | None,
        *,
        all_wanted: bool,
    ) -> None:
        self.run, self.context, self.steps, self.inputs = run, context, steps, inputs
        self.codes, self.places, self.start = codes, places, steps[0][0]
        self.to_log_det, self.all_wanted = to_log_det, all_wanted
        self.unused = torch.empty_like(to_log_det)
        self.spent: list[Tensor] = []

    def recovered(self, value: Tensor, g: Tensor) -> list[Found] | None:
        """Return each step's gradients from the span's output, last first; None if it has drifted."""
        found: list[Found] = []
        weights = _weights(value)
        for at, step in reversed(self.steps):
            known = self.inputs.get(at)
            if isinstance(step.layer, Coupling):
                given = self._memory()
                # It goes through the same network: what is kept of it is what the way back needs.
                passed = self._step(step, value, given, keep=True, back=True)
                if known is None:
                    known_code = self.codes[at]
                    if bool((differ(_code(given, weights), known_code) & (known_code != _UNKNOWN)).any()):
                        return None
                elif _drifted(given, known):
                    return None
            else:
                assert known is not None
                given, y = known, self._memory()
                passed = self._step(step, given, y, keep=True)
                if _drifted(value, y):  # what the couplings after it came back to
                    return None
            found.append(self._back(at, step, given, passed, g))
            g, value = found[-1][0], given
        return found

    def repeated(self, g: Tensor) -> list[Found]:
        """Return the same from the span's input, step by step forth and then back."""
        given = [self.inputs[self.start]]
        for _, step in self.steps[:-1]:
            given.append(self._memory())
            self._step(step, given[-2], given[-1], keep=False)
        found: list[Found] = []
        for (at, step), x in zip(reversed(self.steps), reversed(given), strict=True):
            passed = self._step(step, x, self._memory(), keep=True)
            found.append(self._back(at, step, x, passed, g))
            g = found[-1][0]
        return found

    def _step(self, step: Step, x: Tensor, y: Tensor, *, keep: bool, back: bool = False) -> Passed | None:
        """Write what one step makes of ``x`` to ``y``; with ``back``, what its other direction does."""
        table = step.tables[self.run.inverse != back]
        return table.forward(step.parameters, x, self.context, y, self.unused, keep=keep)

    def _back(self, at: int, step: Step, x: Tensor, passed: Passed | None, g: Tensor) -> Found:
        assert passed is not None
        table, wanted = step.tables[self.run.inverse], self.all_wanted or at > self.start
        to_x = self.run.like(x)
        places = table.places(x) if self.places is None else self.places[at]
        to_context = gradients_to(places, table, passed, x, g, self.to_log_det, to_x, to_input=wanted)
        return to_x, to_context, list(places)

    def _memory(self) -> Tensor:
        self.spent.append(self.run.like(self.inputs[self.start]))
        return self.spent[-1]


def _places(run: Run, claim: Claim) -> list[Sequence[Tensor]]:
    """Return where the gradients of each step's parameters are written."""
    ends = [0, *itertools.accumulate(len(step.parameters) for step in run.steps)]
    return [claim.places[start:end] for start, end in itertools.pairwise(ends)]


def _weights(x: Tensor) -> Tensor:
    """Return the weights of a code, in which 1 is the drift that is let pass."""
    return code_weights(x, 1) * (allowed(x.dtype) / DRIFT)


def _code(x: Tensor, weights: Tensor) -> Tensor:
    """Return two bytes for each row: ⌊Σ_j w_j x_j / (1 + max_j │x_j│)⌉ modulo 2¹⁶.

    That is :func:`diffeo.bijections.drift.code` relative to the row, and not to each element: nothing of
    the rows' size is made for it, which in deep flows would be half of the memory.
    """
    found = (x @ weights) / (1 + torch.linalg.vector_norm(x, torch.inf, -1))
    finite = found.isfinite()
    near = torch.where(finite, found, 0.0).round().to(torch.int64).to(torch.int16)
    return torch.where(finite, near, _UNKNOWN)


def _drifted(found: Tensor, known: Tensor) -> bool:
    """Return whether an input came back as another; rows that were not finite are not looked at."""
    off = (found - known).abs() / known.abs().clamp(min=1.0)
    return bool((~(off <= DRIFT).all(-1) & known.isfinite().all(-1)).any())
