"""Layers one after another as one call of the kernels, forth and back, with activations that were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.fused.sink import Claim
from diffeo.bijections.fused.told import Told
from diffeo.kernels.native import Passed, Pool, Program, Table
from diffeo.kernels.recorded import transformed

#: Said where a graph is gone backward through twice.
GONE = (
    "this graph was gone backward through before, and what it kept is gone (retain_graph=True keeps "
    "nothing here); expected one pass: compute the loss anew, or by the flow that was given to accelerate."
)

#: Said where derivatives of derivatives are asked for.
SECOND = (
    "create_graph=True asks the compiled kernels for second derivatives, which they do not have; expected "
    "first ones: use the flow that was given to accelerate, or compile='off' in a fit."
)


#: Said where several gradients are asked for in one pass.
BATCHED = (
    "is_grads_batched=True (vectorize=True) asks the compiled kernels for several gradients in one pass, "
    "which they do not have; expected one at a time, or the flow that was given to accelerate."
)


def check_first_order(gradient: Tensor) -> None:
    """Raise where a backward pass records itself: autograd would else leave terms out and say nothing.

    Likewise where its gradients are many in one, whose memory is not for kernels to read.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(SECOND)
    functorch = torch._C._functorch  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    if transformed(gradient) or functorch.is_legacy_batchedtensor(gradient):
        raise RuntimeError(BATCHED)


class Step:
    """One layer of a fused map: what the kernels are told, and the parameters that they read.

    Attributes:
        tables: the layer alone, by whether it is inverted.
    """

    def __init__(
        self, layer: Coupling | Autoregressive, program: Program, parameters: list[Tensor], pool: Pool
    ) -> None:
        self.layer, self.program, self.parameters = layer, program, parameters
        self._told = Told(layer, parameters)
        self.tables = {inverse: Table([program], inverse=inverse, pool=pool) for inverse in (True, False)}

    def current(self) -> bool:
        """Return whether the layer is still what the kernels were told."""
        return self._told.holds()


class Run:
    """Some steps in the order in which a direction takes them.

    Args:
        steps: the layers.
        pool: where memory is taken from.
        inverse: the direction.

    Attributes:
        table: all layers, as one call of the kernels takes them.
        parameters: those of all layers.
    """

    def __init__(self, steps: Sequence[Step], pool: Pool, *, inverse: bool) -> None:
        self.steps, self.pool, self.inverse = tuple(steps), pool, inverse
        self.table = steps[0].tables[inverse]
        if len(steps) > 1:
            self.table = Table([step.program for step in steps], inverse=inverse, pool=pool)
        self.parameters = [p for step in steps for p in step.parameters]

    def like(self, x: Tensor) -> Tensor:
        """Return memory of the shape of ``x``."""
        return self.pool.take(x.numel(), exact=True).view(x.shape)

    def through(
        self, x: Tensor, context: Tensor | None, *, keep: bool
    ) -> tuple[Tensor, Tensor, Passed | None]:
        """Return the value, the log-determinant, and with ``keep`` what the way back needs."""
        y, log_det = torch.empty_like(x), x.new_zeros(x.shape[0])
        passed = self.table.forward(self.parameters, x, context, y, log_det, keep=keep)
        return y, log_det, passed


class Kept(torch.autograd.Function):
    """A run whose activations are kept; its gradients are those of formulas, not of recorded operations."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, claim: Claim | None, x: Tensor, context: Tensor | None, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the value and the log-determinant.

        With a claim, ``parameters`` are the gate of its sink alone: gradients are written to its places.
        """
        value, log_det, ctx.passed = run.through(x, context, keep=True)
        ctx.run, ctx.claim = run, claim
        ctx.save_for_backward(x, *parameters)  # says so if one was changed before the way back
        return value, log_det

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, to_value: Tensor, to_log_det: Tensor
    ) -> Any:
        """Return the gradients."""
        check_first_order(to_value)
        passed: Passed | None = ctx.passed
        if passed is None:
            raise RuntimeError(GONE)
        ctx.passed = None
        run: Run = ctx.run
        x: Tensor = ctx.saved_tensors[0]
        _, _, to_x_wanted, to_context_wanted, *_ = ctx.needs_input_grad
        g, to_x, claim = to_value.contiguous(), torch.empty_like(x), ctx.claim
        places = run.table.places(x) if claim is None else claim.places
        to_context = gradients_to(
            places, run.table, passed, x, g, to_log_det.contiguous(), to_x,
            to_input=to_x_wanted or to_context_wanted,
        )  # fmt: skip
        found = places
        if claim is not None:
            claim.tell()
            found = [None]
        return (
            None,
            None,
            to_x if to_x_wanted else None,
            to_context if to_context_wanted else None,
            *found,
        )


def gradients_to(
    places: Sequence[Tensor],
    table: Table,
    passed: Passed,
    x: Tensor,
    g: Tensor,
    to_log_det: Tensor,
    to_x: Tensor,
    *,
    to_input: bool,
) -> Tensor | None:
    """Write the gradients towards x to ``to_x``, towards parameters to ``places``; return the context's."""
    to_context = x.new_empty(x.shape[0], table.context) if table.context and to_input else None
    addresses = [place.data_ptr() for place in places]
    table.backward(passed, x, g, to_log_det, to_x, to_context, addresses, to_input=to_input)
    if not len(x):  # without rows nothing is written
        for place in places:
            place.zero_()
    return to_context
