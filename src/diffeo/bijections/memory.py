"""Constant memory: on the way back each layer's input is recovered from its output, and not kept.

Backpropagation needs the input h_k of every layer, and an invertible layer's output has it too:
h_k = f_k⁻¹(h_{k+1}). A pass therefore runs without a graph, and keeps of a run of :data:`SPAN` layers its
first input and its last output. Its gradient goes back layer by layer (:mod:`diffeo.bijections.recovery`):
recover h_k, run f_k on it with a graph, differentiate that one layer, forget it. One layer's graph is alive
at any time; what grows with the number of layers is one activation a run, and two bytes a row and layer.

Layers whose other direction is a search or takes many passes, that draw random numbers, or that change the
batch shape have their input kept, and are repeated: checkpointed. A layer whose pass must not run twice,
since statistics move (:data:`~diffeo.bijections.replay.Reversal`), is run as it is; so is one that holds
a tensor with a gradient which is no parameter, as what another network made; and so is everything under
``torch.compile``, ``torch.func`` and forward-mode differentiation. A second derivative is right, and takes
the memory of the run it is of.

Source: Gomez, Ren, Urtasun & Grosse, *The reversible residual network* (2017), section 3; Chen, Xu, Zhang &
Guestrin, *Training deep nets with sublinear memory cost* (2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from diffeo.bijections.recovery import Run, Step, plainly, tensors_of

#: Layers of a run: of so many, at most, inputs are computed again where a row's rounding grew too large.
SPAN = 32

#: The ways that a chain keeps what its gradient needs.
MEMORY = ("full", "constant")


def passed(steps: Sequence[Step], value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what the steps make of ``value`` one after the other, and the summed log-determinants."""
    total: Tensor | None = None
    for run, once in [(steps, True)] if _plain_only() else _runs(steps):
        tensors = [] if once else list(tensors_of(run).values())
        if once or not any(t is not None and t.requires_grad for t in (value, context, *tensors)):
            value, total = plainly(run, value, context, total)
        else:
            value, total = Run.apply(run, value, context, total, *tensors)
    assert total is not None
    return value, total


def _plain_only() -> bool:
    """Whether nothing of a pass is differentiated, or not by a backward pass of autograd's."""
    return (
        not torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()  # pyright: ignore
        or torch.autograd.forward_ad._current_level >= 0  # pyright: ignore
    )


def _runs(steps: Sequence[Step]) -> Iterator[tuple[list[Step], bool]]:
    """Cut the steps into runs of at most ``SPAN``; one that must not be repeated is a run of its own."""
    run: list[Step] = []
    for step in steps:
        once = _once(step)
        if run and (once or len(run) == SPAN):
            yield run, False
            run = []
        if once:
            yield [step], True
        else:
            run.append(step)
    if run:
        yield run, False


def _once(step: Step) -> bool:
    """Whether a pass of the layer is as it is: it leaves something behind, a chain in it sees to its own
    memory, or it has a tensor with a gradient that is no parameter, which the way back would not see.
    """
    layer, inverse = step
    return layer.reversal(inverse=inverse) == "once" or any(
        (module.training and getattr(module, "track_running_stats", False))
        or getattr(module, "memory", None) == "constant"
        or any(isinstance(each, Tensor) and each.requires_grad for each in vars(module).values())
        for module in layer.modules()
    )
