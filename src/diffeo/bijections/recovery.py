"""A run of layers whose gradient recovers their inputs from its output, checks them, and keeps none.

What the other direction of a layer gives back has a rounding, which the layers after it magnify, in one
row more than in another. A pass therefore keeps two bytes for each row and layer: a code of h_k, in units
of the error that is allowed (:mod:`diffeo.bijections.drift`). Where a recovered row has another, the pass
is repeated from the last input that was kept, and that row's gradient is taken at what it truly was. The
decision is the row's own: a hostile row changes nothing for the others.

No rounding is small where a gradient jumps, at the knots of a spline or of a ReLU: a row that lies within a
rounding of one may have the gradient of its other side, as it may in a batch of another size.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.drift import code, code_weights, differ
from diffeo.bijections.replay import Replay, repeating, whole

#: A layer, and whether its inverse is what is passed.
Step: TypeAlias = tuple[Bijection, bool]


def plainly(
    steps: Sequence[Step], value: Tensor, context: Tensor | None, total: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return what the steps make of ``value``, and ``total`` with their log-determinants added."""
    for step in steps:
        value, log_det = _call(step, value, context)
        total = log_det if total is None else total + log_det
    assert total is not None
    return value, total


def _call(step: Step, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    layer, inverse = step
    return layer.inverse(value, context) if inverse else layer(value, context)


class _Held(nn.ModuleList):
    """The layers of a run as one module."""

    def forward(self, body: Callable[[], Any]) -> Any:
        """Return ``body()``: functional_call puts tensors in the places of the layers' meanwhile."""
        return body()


def tensors_of(steps: Sequence[Step]) -> dict[str, Tensor]:
    """Return the parameters and buffers of a run, by name."""
    held = _Held([layer for layer, _ in steps])
    return {**dict(held.named_parameters()), **dict(held.named_buffers())}


def _with(steps: Sequence[Step], tensors: Sequence[Tensor], body: Callable[[], Any]) -> Any:
    """Return ``body()``, called while ``tensors`` are the parameters and buffers of the run."""
    given = dict(zip(tensors_of(steps), tensors, strict=True))
    return torch.func.functional_call(_Held([layer for layer, _ in steps]), given, (body,))


class Run(torch.autograd.Function):
    """``Run.apply(steps, value, context, total, *tensors)``: :func:`plainly`, in constant memory.

    ``tensors`` are those of :func:`tensors_of`: autograd sees that the result depends on them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        steps: Sequence[Step],
        value: Tensor,
        context: Tensor | None,
        total: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Run the steps without a graph."""
        ctx.shape = None if total is None else total.shape
        ctx.modes = _modes(steps)
        ctx.cast = _autocast_of(value.device.type)
        kept: dict[int, Tensor] = {}
        codes: dict[int, Tensor] = {}
        drawn: dict[int, list[Tensor]] = {}
        weights = code_weights(value, steps[0][0].event_ndim)
        with _cast(value.device.type, ctx.cast):
            for k, (layer, inverse) in enumerate(steps):
                before = _generators(value.device)
                after, log_det = _call((layer, inverse), value, context)
                if not all(map(torch.equal, before, _generators(value.device))):
                    drawn[k] = before
                event = layer.event_ndim
                same = after.shape[: after.ndim - event] == value.shape[: value.ndim - event]
                if k and k not in drawn and same and layer.reversal(inverse=inverse) == "undone":
                    codes[k] = code(value, event, weights)
                else:
                    kept[k] = value
                value = after
                total = log_det if total is None else total + log_det
        assert total is not None
        ctx.steps, ctx.drawn, ctx.kept, ctx.codes = steps, drawn, list(kept), list(codes)
        ctx.save_for_backward(context, value, *kept.values(), *codes.values(), *tensors)
        return value, total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of value, context, the sum so far, and the tensors."""
        context, output, *saved = ctx.saved_tensors
        kept = dict(zip(ctx.kept, saved, strict=False))
        codes = dict(zip(ctx.codes, saved[len(kept) :], strict=False))
        given = saved[len(kept) + len(codes) :]
        _, needs_value, needs_context, needs_total, *needs = ctx.needs_input_grad
        live = list(tensors_of(ctx.steps).values())
        # Otherwise functional_call had put others in the places of the layers' own, and has to again. One
        # that has hooks has another in its place too: autograd calls them, and once.
        own = all(a is b and not _heard(a) for a, b in zip(live, given, strict=True))
        twice = torch.is_grad_enabled()  # the gradient will itself be differentiated
        if twice:
            live = given
        elif not own:
            live = [t.detach().requires_grad_(need) for t, need in zip(given, needs, strict=True)]
        weights = code_weights(output, ctx.steps[0][0].event_ndim)
        back = _Back(ctx.steps, kept, codes, ctx.drawn, context, weights)

        def body() -> list[Tensor | None]:
            with _cast(output.device.type, ctx.cast), repeating(), _in_modes(ctx.modes):
                if twice:
                    inputs = [kept[0], context, *live]
                    return back.differentiably(inputs, [needs_value, needs_context, *needs], grads)
                return back.gradients(output, grads, live, needs_value, needs_context)

        found = body() if own else _with(ctx.steps, live, body)
        g_total = grads[1].sum_to_size(ctx.shape) if needs_total else None
        return None, *found[:2], g_total, *found[2:]


@dataclass
class _Back:
    """One way back through a run, with what its pass kept, by layer."""

    steps: Sequence[Step]
    kept: dict[int, Tensor]
    codes: dict[int, Tensor]
    drawn: dict[int, list[Tensor]]
    context: Tensor | None
    weights: Tensor

    def gradients(
        self,
        output: Tensor,
        grads: Sequence[Tensor],
        tensors: Sequence[Tensor],
        needs_value: bool,
        needs_context: bool,
    ) -> list[Tensor | None]:
        """Return the gradients of value, context and tensors."""
        g_value, g_total = grads
        context = None if self.context is None else self.context.detach().requires_grad_(needs_context)
        summed: dict[int, Tensor] = {}
        after = output.detach()
        for k in reversed(range(len(self.steps))):
            replay = self._replay(k, after, context, leaf=k > 0 or needs_value)
            after = replay.joined([part.detach() for part in replay.parts])
            if k not in self.kept and bool(self._wrong(k, after).any()):
                del replay
                settled = replace(self, kept=self._settled(output.detach()))
                return settled.gradients(output, grads, tensors, needs_value, needs_context)
            own = [t for t in self.steps[k][0].parameters() if t.requires_grad]
            leaves = [t for t in (*replay.parts, context, *own) if t is not None and t.requires_grad]
            pulled = _pulled((replay.value, replay.log_det), (g_value, g_total), leaves)
            found = dict(zip(map(id, leaves), pulled, strict=True))
            slopes = [found.pop(id(part), None) for part in replay.parts]
            g_value = replay.joined(
                [torch.zeros_like(p) if g is None else g for p, g in zip(replay.parts, slopes, strict=True)]
            )
            for key, g in found.items():
                if g is not None:
                    summed[key] = summed[key] + g if key in summed else g
            del replay, leaves, pulled, found, slopes
        return [g_value if needs_value else None, *(summed.get(id(t)) for t in (context, *tensors))]

    def _wrong(self, k: int, given: Tensor) -> Tensor:
        """Return which rows of a recovered input are not what the pass had."""
        return differ(code(given, self.steps[k][0].event_ndim, self.weights), self.codes[k])

    def _settled(self, output: Tensor) -> dict[int, Tensor]:
        """Return the inputs of all layers: recovered in the rows that come back right, and true in others.

        A row that comes back wrong anywhere after an input that was kept is true everywhere after it: what
        magnifies a rounding so much magnifies in the gradient one that is allowed.
        """
        inputs: dict[int, Tensor] = {}
        value = self.kept[0]
        with torch.no_grad():
            for k, step in enumerate(self.steps):
                inputs[k] = value = self.kept.get(k, value)
                if k + 1 < len(self.steps):
                    with _dice(value.device, self.drawn.get(k)):
                        value, _ = _call(step, value, self.context)
        after, recovered, wrong = output, dict[int, Tensor](), torch.zeros((), dtype=torch.bool)
        for k in reversed(range(len(self.steps))):
            if k in self.kept:
                event = self.steps[k][0].event_ndim
                mask = wrong.reshape(wrong.shape + (1,) * event)
                for j, given in recovered.items():
                    inputs[j] = torch.where(mask, inputs[j], given)
                after, recovered, wrong = self.kept[k], dict[int, Tensor](), wrong.new_zeros(())
                continue
            replay = self._replay(k, after, self.context, leaf=True)
            after = replay.joined([part.detach() for part in replay.parts])
            wrong = wrong.to(after.device) | self._wrong(k, after)
            recovered[k] = after
        return inputs

    def differentiably(
        self, inputs: Sequence[Tensor | None], needs: Sequence[bool], grads: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return the gradients of value, context and tensors, with a graph, from a pass that has one."""
        value, total = inputs[0], None
        assert value is not None
        with torch.enable_grad():
            for k, step in enumerate(self.steps):
                with _dice(value.device, self.drawn.get(k)):
                    value, log_det = _call(step, value, self.context)
                total = log_det if total is None else total + log_det
            assert total is not None
            wanted = [t for t, need in zip(inputs, needs, strict=True) if need and t is not None]
            found = iter(_pulled((value, total), grads, wanted, create_graph=True))
        return [next(found) if need else None for need in needs]

    def _replay(self, k: int, after: Tensor, context: Tensor | None, *, leaf: bool) -> Replay:
        """Run layer k again, with a graph, on the input that was kept or that ``after`` gives back."""
        layer, inverse = self.steps[k]
        if k not in self.kept:
            return layer.replay(after, context, inverse=inverse)
        given = self.kept[k].detach().requires_grad_(leaf)
        with torch.enable_grad(), _dice(given.device, self.drawn.get(k)):
            again, log_det = _call((layer, inverse), given, context)
        return Replay((given,), again, log_det, whole)


def _pulled(
    outputs: Sequence[Tensor], grads: Sequence[Tensor], leaves: Sequence[Tensor], **options: Any
) -> Sequence[Tensor | None]:
    """Return the gradients of the leaves; None for one that the outputs do not depend on."""
    pairs = [(o, g.sum_to_size(o.shape)) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
    if not pairs or not leaves:
        return [None] * len(leaves)
    return torch.autograd.grad(
        [o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True, **options
    )


def _heard(tensor: Tensor) -> bool:
    return bool(tensor._backward_hooks)  # pyright: ignore[reportPrivateUsage]


#: Modules, each with whether it trained in a pass.
_Modes: TypeAlias = list[tuple[nn.Module, bool]]


def _modes(steps: Sequence[Step]) -> _Modes:
    return [(module, module.training) for layer, _ in steps for module in layer.modules()]


@contextmanager
def _in_modes(modes: _Modes) -> Generator[None]:
    """Let the modules meanwhile be in the modes that they had in the pass: it may be repeated in others."""
    changed = [(module, module.training) for module, training in modes if module.training != training]
    try:
        for module, training in changed:
            module.training = not training
        yield
    finally:
        for module, training in changed:
            module.training = training


def _generators(device: torch.device) -> list[Tensor]:
    """Return the states of torch's own generators that a layer may draw from."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


@contextmanager
def _dice(device: torch.device, states: Sequence[Tensor] | None) -> Generator[None]:
    """Let torch's generators draw once more what they drew from these states, and put them back."""
    if states is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(states[0])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states[1], device)
        yield


#: Whether autocast is on, and the dtype that it casts to.
_Autocast: TypeAlias = tuple[bool, torch.dtype]


def _autocast_of(kind: str) -> _Autocast:
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def _cast(kind: str, wanted: _Autocast) -> AbstractContextManager[Any]:
    """Cast as the pass did. Without torch's cache: what it holds from under no_grad has no gradient."""
    if not wanted[0] and not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, dtype=wanted[1], enabled=wanted[0], cache_enabled=False)
