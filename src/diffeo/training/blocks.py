"""Layers through torch.compile, one function for all layers of the same structure.

A flow is one block repeated, so that compiling the whole flow compiles the same thing K times. Here one
layer is compiled as a function of its tensors, (θ, x, c) ↦ (z, log │det│), and every layer like it calls
that function with its own parameters and buffers. Like it is what has the same description: the constructor
is the schema, so that a description and tensors are all that a layer is, as in a model file.

Layers are noted first, while the objective is computed on one batch; then each is tried at disturbed
weights and has to be as right as torch itself: with values, log-determinants and gradients v, as they are
compiled, as they are, and in float64,

    ‖v_compiled − v₆₄‖ ≤ 8 ‖v − v₆₄‖ + 2¹⁰ ε ‖v₆₄‖.

A layer that cannot be compiled as one graph, is not as right, draws random numbers, has hooks, or changes
state in a pass, stays as it is, and the log says why. All of this comes before the first step and asks no
clock, so that the same seed gives the same bits. It is done in the thread that trains: while torch traces,
its ``torch.compiler.is_compiling()`` is true for all threads, and steps taken in another would be computed
as if they were being traced. torch keeps what it compiled on disk (``TORCHINDUCTOR_CACHE_DIR``): the next
run traces only.
"""

from __future__ import annotations

import copy
import json
import logging
import types
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from diffeo.bijections import Bijection, Inverse
from diffeo.bijections.fused import Fused, Launched
from diffeo.bijections.listening import listened_to
from diffeo.errors import DiffeoError
from diffeo.registry import to_spec

#: What torch.compile hands its graphs to.
BACKEND = "inductor"

#: Structures that are compiled at most, those of most layers: each takes from seconds to a minute.
MOST = 8

#: (tensors, value, context) ↦ (value, log-determinant).
Pass = Callable[[dict[str, Tensor], Tensor, Tensor | None], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Noted:
    """What reached a layer: the direction, the rows and their context."""

    inverse: bool
    value: Tensor
    context: Tensor | None

    def fits(self, value: Tensor, context: Tensor | None) -> bool:
        """Return whether other rows are of this kind, however many they are."""
        one, other = (self.value, self.context), (value, context)
        return all(
            (a is None and b is None)
            or (a is not None and b is not None and a.shape[1:] == b.shape[1:] and a.dtype == b.dtype)
            for a, b in zip(one, other, strict=True)
        ) and not (context is not None and (context.requires_grad or len(context) != len(value)))

    def rows(self, count: int) -> tuple[Tensor, Tensor | None]:
        """Return ``count`` of the rows, some again where there are too few."""
        numbers = torch.arange(count, device=self.value.device) % len(self.value)
        return self.value[numbers], None if self.context is None else self.context[numbers]


class Block(Bijection):
    """A layer that goes through a compiled function where :func:`settle` found one, else as it is.

    Args:
        layer: what is computed.

    Attributes:
        noted: what reached the layer, while that is noted; None at other times.
    """

    def __init__(self, layer: Bijection) -> None:
        super().__init__()
        self.layer = layer
        self.event_ndim, self.circles, self.codomain = layer.event_ndim, layer.circles, layer.codomain
        shape = getattr(layer, "event_shape", None)
        if shape is not None:
            self.event_shape = shape
        self.noted: list[Noted] | None = None
        self._ways: dict[bool, tuple[Pass, Noted, frozenset[int], dict[str, Tensor]]] = {}

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layer makes of z."""
        return self._pass(z, context, inverse=False)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what the layer's inverse makes of x."""
        return self._pass(x, context, inverse=True)

    def go(self, function: Pass, noted: Noted, sizes: Iterable[int]) -> None:
        """Go through ``function`` from now on, with batches of these sizes that are as what was noted."""
        tensors = tensors_of(self.layer, inverse=noted.inverse)
        self._ways[noted.inverse] = function, noted, frozenset(sizes), tensors

    def _pass(self, value: Tensor, context: Tensor | None, *, inverse: bool) -> tuple[Tensor, Tensor]:
        way = self._ways.get(inverse)
        if way is not None and torch.is_grad_enabled():
            function, noted, sizes, tensors = way
            if len(value) in sizes and noted.fits(value, context):
                return function(tensors, _prepared(value), context)
        if self.noted is not None and value.ndim > self.event_ndim:
            given = None if context is None else context.detach().clone()
            self.noted.append(Noted(inverse, value.detach().clone(), given))
        return self.layer.inverse(value, context) if inverse else self.layer(value, context)


def block_of(layer: Bijection) -> Bijection:
    """Return the layer as a block, or as it is where it has nothing to train or is compiled already."""
    trained = any(p.requires_grad for p in layer.parameters())
    known = isinstance(layer, Fused) or isinstance(getattr(layer, "law", None), Launched)
    return Block(layer) if trained and not known else layer


def settle(blocks: Sequence[Block], loss: Callable[[], object], sizes: Sequence[int]) -> int:
    """Compile and try what the blocks are of; return how many go through compiled functions from now on.

    Args:
        blocks: the layers, in training mode.
        loss: computes the objective on one batch, through all blocks.
        sizes: the rows of batches; of two sizes, one function takes both.
    """
    for block in blocks:
        block.noted = []
    loss()
    alike: dict[Any, list[tuple[Block, Noted]]] = {}
    for number, block in enumerate(blocks):
        noted, block.noted = block.noted or [], None
        for there in {n.inverse: n for n in reversed(noted)}.values():  # the first of each direction
            reason, key = _refused(block, there), _likeness(block, there)
            if reason or key is None:
                _say(number, block, reason or "a model file could not describe it")
            else:
                alike.setdefault(key, []).append((block, there))
    numbers = {block: number for number, block in enumerate(blocks)}
    compiled: set[Block] = set()
    # The sort is stable: of structures with as many layers, those nearest the noise come first.
    for count, group in enumerate(sorted(alike.values(), key=len, reverse=True)):
        reason = f"there are {MOST} structures before it" if count >= MOST else ""
        function = None if reason else _function_of(*group[0])
        for block, noted in group:
            # What torch cannot compile for one layer it cannot for those like it.
            if function is not None:
                found = _settled(block, noted, function, sizes)
                if not found:
                    compiled.add(block)
                    continue
                reason, function = found, None
            _say(numbers[block], block, reason)
    logging.getLogger("diffeo.training").info(
        "%d of %d layers are compiled by block, of %d structures", len(compiled), len(blocks), len(alike)
    )
    return len(compiled)


def _say(number: int, block: Block, reason: str) -> None:
    name = type(block.layer).__name__
    logging.getLogger("diffeo.training").info(
        "layer %d (%s) is not compiled by block: %s", number, name, reason
    )


def tensors_of(layer: Bijection, *, inverse: bool) -> dict[str, Tensor]:
    """Return a layer's parameters and buffers, by the names that they have in a direction's function."""
    prefix = "bijection." if inverse else ""
    return {prefix + name: tensor for name, tensor in [*layer.named_parameters(), *layer.named_buffers()]}


def _settled(block: Block, noted: Noted, pair: tuple[Pass, Pass], sizes: Sequence[int]) -> str:
    """Let the block go through a compiled function, or return why it does not."""
    function, plain = pair
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            warnings.simplefilter("ignore")  # torch's compiler warns of itself
            reason = _tried(function, plain, block.layer, noted, sizes)
    except Exception as error:  # what a compiler may raise has no end, and the layer is right without it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if not reason:
        block.go(function, noted, sizes)
    return reason


def _refused(block: Block, noted: Noted) -> str:
    if any(listened_to(module) for module in block.modules()):
        return "it has hooks, which a compiled function would not call"
    moves = any(part.training and getattr(part, "track_running_stats", False) for part in block.modules())
    if moves or block.layer.reversal(inverse=noted.inverse) == "once":
        return "a pass changes its state"
    if noted.value.ndim != block.event_ndim + 1 or not noted.fits(noted.value, noted.context):
        return "it was given rows of more than one batch dimension, or a context of fewer rows"
    return ""


def _likeness(block: Block, noted: Noted) -> Any:
    """Return what layers have in common that are the same function of their tensors; None if unknown."""
    try:
        # In another precision a layer is a copy, described by the one that it was made of.
        (described,) = block.layer.__dict__.get("described_by", (block.layer,))
        spec = json.dumps(to_spec(described), sort_keys=True)
    except DiffeoError:
        return None
    kinds = tuple((type(part).__qualname__, part.training) for part in block.layer.modules())
    tensors = tuple(
        (name, t.shape, t.stride(), t.dtype, t.device, t.requires_grad)
        for name, t in tensors_of(block.layer, inverse=noted.inverse).items()
    )
    given = noted.value.shape[1:], None if noted.context is None else noted.context.shape[1:]
    return noted.inverse, spec, kinds, tensors, given


def _function_of(block: Block, noted: Noted) -> tuple[Pass, Pass]:
    """Return a direction of a layer as a function of its tensors too: compiled, and as it is.

    It has no numbers of its own: a tensor that is not registered would be on torch's meta device.
    """
    layer = block.layer
    known: tuple[Any, ...] = layer.__dict__.get("described_by", ())
    own = copy.deepcopy(layer, {id(part): part for part in known}).to("meta")
    module: nn.Module = Inverse(own).train(own.training) if noted.inverse else own

    def one_pass(
        tensors: dict[str, Tensor], value: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return functional_call(module, tensors, (value, context))

    # torch counts compilations by code object, and gives up after eight: each function has its own.
    code, closure = one_pass.__code__.replace(), one_pass.__closure__
    alone = types.FunctionType(code, one_pass.__globals__, "one_pass", None, closure)
    compiled: Any = torch.compile(alone, fullgraph=True, backend=BACKEND)
    return compiled, one_pass


def _prepared(value: Tensor) -> Tensor:
    """Return rows as a compiled function was made for: in order, and part of a graph.

    The layer at the data would otherwise be compiled a second time, for rows without a gradient.
    """
    value = value.contiguous()
    return value if value.requires_grad else value.detach().requires_grad_()


# -- the trial ------------------------------------------------------------------------------------


def _tried(function: Pass, plain: Pass, layer: Bijection, noted: Noted, sizes: Sequence[int]) -> str:
    """Return why the compiled function is not to be used for a layer; an empty string if it is."""
    draws = torch.Generator().manual_seed(0)
    tensors = {name: _disturbed(t, draws) for name, t in tensors_of(layer, inverse=noted.inverse).items()}
    exactly = {name: _in_float64(t) for name, t in tensors.items()}
    for size in sizes:
        value, context = noted.rows(size)
        wide = value.double(), None if context is None else context.double()
        exact = _results(plain, exactly, *wide)
        expected, again = (_results(plain, tensors, value, context) for _ in "ab")
        if not all(torch.equal(one, other) for one, other in zip(expected, again, strict=True)):
            return "it draws random numbers"
        found = _results(function, tensors, value, context, several=len(sizes) > 1)
        eps = torch.finfo(value.dtype).eps
        for ours, torchs, right in zip(found, expected, exact, strict=True):
            if not _distance(ours, right) <= 8 * _distance(torchs, right) + 1024 * eps * float(
                right.norm()
            ):
                off, than = _distance(ours, right), _distance(torchs, right)
                return f"compiled, it is {off:.3g} from float64, and {than:.3g} as it is"
    return ""


def _results(
    function: Pass,
    tensors: dict[str, Tensor],
    value: Tensor,
    context: Tensor | None,
    *,
    several: bool = False,
) -> list[Tensor]:
    """Return the value, the log-determinant and the gradients of a fixed sum of both."""
    value = _prepared(value.detach())
    if several:
        torch._dynamo.maybe_mark_dynamic(value, 0)  # pyright: ignore
        if context is not None:
            torch._dynamo.maybe_mark_dynamic(context, 0)  # pyright: ignore
    moved, log_det = function(tensors, value, context)
    weights = torch.linspace(-1, 1, moved.numel(), dtype=moved.dtype, device=moved.device)
    total = (moved.flatten() * weights).sum() / 4 + log_det.sum()
    leaves = [value, *(t for t in tensors.values() if t.requires_grad)]
    gradients = torch.autograd.grad(total, leaves, materialize_grads=True)
    return [moved.detach(), log_det.detach(), *gradients]


def _disturbed(tensor: Tensor, draws: torch.Generator) -> Tensor:
    """Return a parameter away from where it began: zeros there would hide the rest of the network."""
    if not isinstance(tensor, nn.Parameter):
        return tensor
    noise = torch.randn(tensor.shape, generator=draws, dtype=torch.float64).to(tensor)
    size = 0.5 * tensor.shape[-1] ** -0.5 if tensor.ndim > 1 else 0.1
    return nn.Parameter(tensor.detach() + size * noise, requires_grad=tensor.requires_grad)


def _in_float64(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return tensor.detach().double().requires_grad_(tensor.requires_grad)


def _distance(one: Tensor, exact: Tensor) -> float:
    """Return ‖one − exact‖, infinite where one is no number and the other is."""
    gap = torch.where(one == exact, 0.0, one.double() - exact)
    gap = torch.where(one.isnan() & exact.isnan(), 0.0, gap)
    return float(torch.nan_to_num(gap, nan=torch.inf).norm())
