"""Parameters in one buffer: a step is a few passes over memory, not a few calls for every tensor."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.nn import Parameter
from torch.optim.adamw import adamw
from torch.utils._foreach_utils import (
    _get_fused_kernels_supported_devices,  # pyright: ignore[reportPrivateUsage]
)

#: Bytes that a parameter's place in a buffer is rounded up to: a cache line, which the fused kernel never
#: divides. How a buffer is cut into blocks therefore does not move a bit.
_LINE = 64


@dataclass
class Block:
    """Neighbours in a buffer whose gradients have always come, and stayed away, together.

    Attributes:
        parameters: which ones, by their positions among the buffer's parameters.
        weights, gradient, first, second: their parts of the buffers.
        step: how many updates they have had.
    """

    parameters: range
    weights: Tensor
    gradient: Tensor
    first: Tensor
    second: Tensor
    step: Tensor


class Flat:
    """Parameters of one dtype and one decay, one after another in a buffer, and AdamW on them:

        m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²,    θ ← θ − λ (m̂ / (√v̂ + ε) + w θ),

    with g = gradient / scale, m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ), β = (0.9, 0.999), ε = 1e-8. As in
    torch's AdamW, a parameter without a gradient in a step stays, and so do its moments and its count.

    While it is attached the parameters are views of ``weights``, with the strides that they had; they stay
    the same objects. Gaps between them hold zeros.

    Source: Loshchilov & Hutter, *Decoupled weight decay regularization* (2019), algorithm 2.

    Args:
        parameters: trainable parameters of one dtype, on one device.
        numbers: what each is called in a file.
        decay: w.
        fused: whether the device has the fused kernel.

    Attributes:
        weights, gradient, first, second: the buffers: θ, g, m and v.

    >>> p = Parameter(torch.ones(2))
    >>> flat = Flat([p], [0], decay=0.0, fused=True)
    >>> flat.attach()
    >>> p.grad = torch.tensor([1.0, -2.0])
    >>> flat.gather()
    >>> flat.update(0.1, scale=None, stop=None)
    >>> flat.detach()
    >>> p.detach()  # a first step is one rate long, whatever the gradient
    tensor([0.9000, 1.1000])
    """

    def __init__(
        self, parameters: Sequence[Parameter], numbers: Sequence[int], *, decay: float, fused: bool
    ) -> None:
        self.parameters, self.numbers, self.decay, self.fused = (
            list(parameters),
            list(numbers),
            decay,
            fused,
        )
        like = self.parameters[0].detach()
        room = _LINE // like.element_size()
        self._ends = [0]
        for p in self.parameters:
            self._ends.append(self._ends[-1] + -(-p.numel() // room) * room)
        self.weights, self.gradient, self.first, self.second = (
            like.new_zeros(self._ends[-1]) for _ in "θgmv"
        )
        self._strides = [torch.empty_like(p).stride() for p in self.parameters]
        self._own: list[Tensor] = [p.detach() for p in self.parameters]
        self._views, self._gradients = self.views(self.weights), self.views(self.gradient)
        # The fused kernel reads counts where it runs; the others, on the host.
        counts = torch.zeros((), dtype=torch.float32, device=like.device if fused else None)
        self._present = [True] * len(self.parameters)
        self.blocks = [self._block(range(len(self.parameters)), counts)]
        for view, own in zip(self._views, self._own, strict=True):
            view.copy_(own)

    def places(self) -> list[tuple[Parameter, Tensor]]:
        """Return each parameter, and the part of ``gradient`` that is its own."""
        return list(zip(self.parameters, self._gradients, strict=True))

    def views(self, buffer: Tensor) -> list[Tensor]:
        """Return a buffer's parts in the shapes of the parameters."""
        places = zip(self.parameters, self._strides, self._ends, strict=False)
        return [buffer.as_strided(p.shape, stride, start) for p, stride, start in places]

    # -- parameters ------------------------------------------------------------------------------

    @torch.no_grad()
    def attach(self) -> None:
        """Make the parameters views of the buffer. One that was given other data brings its values."""
        for k, (p, view) in enumerate(zip(self.parameters, self._views, strict=True)):
            if p.data_ptr() != view.data_ptr():
                view.copy_(p.data)
                self._own[k], p.data = p.data, view

    @torch.no_grad()
    def detach(self) -> None:
        """Give the parameters back the storage that they had, with the values that they have."""
        for p, view, own in zip(self.parameters, self._views, self._own, strict=True):
            if p.data_ptr() == view.data_ptr():
                p.data = own.copy_(view)

    # -- a step ----------------------------------------------------------------------------------

    @torch.no_grad()
    def gather(self, written: Set[int] = frozenset()) -> None:
        """Bring the parameters' gradients into the buffer.

        Args:
            written: ``id`` of each parameter whose gradient was written there; one that it has besides, by
                autograd, is added.
        """
        # Autograd hands its own tensors over where there is no gradient yet: one copy of them all costs
        # less than adding each one to a view of the buffer.
        given = [p.grad for p in self.parameters]
        there = [id(p) in written for p in self.parameters]
        present = [g is not None or here for g, here in zip(given, there, strict=True)]
        if present != self._present:
            self._divide(present)
            self._present = present
            for place, here in zip(self._gradients, present, strict=True):
                if not here:
                    place.zero_()
        came = [
            (place, g, here)
            for place, g, here in zip(self._gradients, given, there, strict=True)
            if g is not None
        ]
        new = [(place, g) for place, g, here in came if not here]
        if new:
            places, gradients = zip(*new, strict=True)
            torch._foreach_copy_(places, gradients)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        for place, g, here in came:
            if here:
                place.add_(g)

    @torch.no_grad()
    def update(self, rate: float | Tensor, scale: Tensor | None, stop: Tensor | None) -> None:
        """Take AdamW's step along gradient / scale, unless ``stop`` is 1.

        Without the fused kernel ``stop`` is not looked at.
        """
        moving = [block for block in self.blocks if self._present[block.parameters[0]]]
        if not moving:
            return
        if scale is not None and not self.fused:
            self.gradient.div_(scale)
        adamw(
            [block.weights for block in moving],
            [block.gradient for block in moving],
            [block.first for block in moving],
            [block.second for block in moving],
            [],
            [block.step for block in moving],
            fused=self.fused,
            foreach=False,
            capturable=self.fused and self.weights.device.type == "cuda",
            grad_scale=scale if self.fused else None,
            found_inf=stop if self.fused else None,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=self.decay,
            eps=1e-8,
            maximize=False,
        )
        # A view's own count of changes does not know of those to the buffer.
        increment_version(self.parameters)

    def _divide(self, by: Sequence[bool] | Sequence[float]) -> None:
        """Divide blocks where neighbours differ in ``by``."""
        blocks = self.blocks
        self.blocks = []
        for block in blocks:
            for _, part in groupby(block.parameters, key=by.__getitem__):
                members = list(part)
                self.blocks.append(self._block(range(members[0], members[-1] + 1), block.step.clone()))

    def _block(self, members: range, step: Tensor) -> Block:
        part = slice(self._ends[members.start], self._ends[members.stop])
        buffers = (self.weights, self.gradient, self.first, self.second)
        return Block(members, *(buffer[part] for buffer in buffers), step=step)

    # -- moments ---------------------------------------------------------------------------------

    def moments(self) -> dict[str, Tensor]:
        """Return copies of the moments and counts, by names as ``"3/exp_avg"``."""
        found: dict[str, Tensor] = {}
        first, second = self.views(self.first.clone()), self.views(self.second.clone())
        for block in self.blocks:
            for k in block.parameters:
                number = self.numbers[k]
                found[f"{number}/step"] = block.step.clone()
                found[f"{number}/exp_avg"], found[f"{number}/exp_avg_sq"] = first[k], second[k]
        return found

    @torch.no_grad()
    def load_moments(self, moments: dict[str, Tensor]) -> None:
        """Take what :meth:`moments` returned; a parameter that is not in it begins anew."""
        for buffer, name in ((self.first, "exp_avg"), (self.second, "exp_avg_sq")):
            for number, view in zip(self.numbers, self.views(buffer), strict=True):
                held = moments.get(f"{number}/{name}")
                view.zero_() if held is None else view.copy_(held)
        steps = [moments.get(f"{number}/step") for number in self.numbers]
        counts = [0.0 if step is None else float(step) for step in steps]
        if any(len({counts[k] for k in block.parameters}) > 1 for block in self.blocks):
            self._divide(counts)
        for block in self.blocks:
            block.step.fill_(counts[block.parameters[0]])


def flats_of(parameters: Sequence[Parameter], weight_decay: float, *, fused: bool) -> list[Flat]:
    """Return buffers for ``parameters``, one for each dtype and decay."""

    def kind(item: tuple[int, Parameter]) -> tuple[str, float]:
        # Decay pulls towards zero: right for matrices, wrong for biases, scales and locations.
        return str(item[1].dtype), weight_decay if item[1].ndim >= 2 else 0.0

    # The numbers that a file calls them by: matrices first.
    numbered = enumerate(sorted(parameters, key=lambda p: p.ndim < 2))
    flats: list[Flat] = []
    for (_, decay), group in groupby(sorted(numbered, key=kind), kind):
        numbers, members = zip(*group, strict=True)
        flats.append(Flat(members, numbers, decay=decay, fused=fused))
    return flats


def norm_of(flats: Sequence[Flat]) -> Tensor:
    """Return the Euclidean norm of all gradients together, in float32 or better."""
    exact = any(flat.gradient.dtype == torch.float64 for flat in flats)
    dtype = torch.float64 if exact else torch.float32
    norms = [torch.linalg.vector_norm(flat.gradient, dtype=dtype) for flat in flats]
    return torch.linalg.vector_norm(torch.stack(norms))


def has_fused(parameters: Sequence[Parameter]) -> bool:
    """Return whether torch has a fused AdamW for the device and the dtypes of ``parameters``."""
    # To ask by making the optimizer would import torch's compiler, which takes a second.
    devices = _get_fused_kernels_supported_devices()
    return bool(parameters) and all(p.is_floating_point() and p.device.type in devices for p in parameters)
