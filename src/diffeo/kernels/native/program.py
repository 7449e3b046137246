"""A layer as the compiled kernels are told it: what is seen, the network, the law, what is moved."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffeo.kernels.native.levels import levels_of
from diffeo.kernels.native.library import LAWS, Compiled, library
from diffeo.kernels.native.network import ACTIVATIONS, BY_GIVEN, STEPS, Mask, Network


class Room(NamedTuple):
    """Numbers that a layer needs in a pass: for packed weights, what it makes, and what the way back reads.

    Attributes:
        biases, forth, back: the packed biases, and weights for either way.
        y: what the layer makes of its rows.
        theta, kept, given: θ, what each layer of the network was given, and what some activations were.
    """

    biases: int
    forth: int
    back: int
    y: int
    theta: int
    kept: int
    given: int


class _Net(ctypes.Structure):
    """``Network`` of ``source/perceptron.h``."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("n_steps", "n_layers")],
        *[(name, ctypes.c_void_p) for name in ("steps", "ins", "outs", "forth", "back", "bias")],
        *[(name, ctypes.c_void_p) for name in ("forth_ranges", "back_ranges", "row_ranges")],
        *[(name, ctypes.c_int64) for name in ("activation", "width", "n_seen", "context")],
        ("seen", ctypes.c_void_p),
        ("features", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("kept", "given")],
        ("given_row", ctypes.c_int64),
        ("reached", ctypes.c_void_p),
        *[(f"{name}_panel", ctypes.c_void_p) for name in ("forth", "back", "kept", "reached")],
    ]


class _Program(ctypes.Structure):
    """``Program`` of ``source/run.h``."""

    _fields_ = [
        ("net", _Net),
        ("law", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("numbers", "counts")],
        ("moved", ctypes.c_int64),
        ("index", ctypes.c_void_p),
        ("half", ctypes.c_int64),
    ]


class Program:
    """A layer's two directions and their derivatives, for float32 rows on the processor.

    Args:
        network: of the conditioner.
        law: how the law is called.
        params: the law's parameters for each moved feature.
        features: D.
        moved: the features that the law moves, in order.
        seen: the features that the conditioner sees, in order.
        context: features of the context, which it sees after them.
        levels: of an autoregressive layer, its features in the groups that follow one another.
        half: whether products are of bfloat16, with float32 sums; else of float32.
    """

    def __init__(
        self,
        network: Network,
        law: Compiled,
        params: int,
        features: int,
        moved: Sequence[int],
        seen: Sequence[int],
        context: int = 0,
        *,
        levels: Sequence[Sequence[int]] | None = None,
        half: bool,
    ) -> None:
        self.network, self.features, self.context = network, features, context
        self._pair = 2 if half else 1
        # Numbers of a vector, and columns of a panel: what is packed is packed for this processor.
        self._lanes: int = loaded().diffeo_lanes()
        panel = 2 * self._lanes
        self.inverted = law.inverted
        self._held: list[Any] = []  # what the structure points at
        ins, outs = zip(*network.sizes, strict=True)
        wide_in, wide_out = [self._padded(n) for n in ins], [self._padded(n) for n in outs]
        forth = [-(-n // self._pair) * wide for n, wide in zip(ins, wide_out, strict=True)]
        back = [-(-n // self._pair) * wide for n, wide in zip(outs, wide_in, strict=True)]
        starts = [0, *accumulate([*forth, *back])]
        n = len(ins)
        self._forth, self._back = sum(forth), sum(back)
        self._biases = sum(wide_out)
        self._theta_row = self._padded(len(moved) * params)
        by_given = network.activation in BY_GIVEN
        given = [
            wide_in[network.steps[at + 1][1]] for at, (s, _) in enumerate(network.steps) if s == STEPS[1]
        ]
        self._given_row = sum(given) if by_given else 0
        panels = panels_of(network, panel, 0 if half else loaded().diffeo_skipping(), self._lanes)
        kept = [-(-w // p) * p for w, p in zip(wide_in, panels.kept, strict=True)]
        reached = [-(-w // p) * p for w, p in zip(wide_out, panels.reached, strict=True)]
        self._kept_row, self._reached_row = sum(kept), sum(reached)
        steps = [number for step, k in network.steps for number in (STEPS.index(step), k)]
        net = _Net(
            n_steps=len(network.steps),
            n_layers=n,
            steps=self._ints(steps),
            ins=self._longs(ins),
            outs=self._longs(outs),
            forth=self._longs(starts[:n]),
            back=self._longs(starts[n : 2 * n]),
            bias=self._longs([0, *accumulate(wide_out)][:n]),
            forth_ranges=self._ranges(panels.forth, np.asarray, self._pair),
            back_ranges=self._ranges(panels.back, np.transpose, self._pair),
            row_ranges=self._ranges([loaded().diffeo_ranged()] * n, np.asarray, 1),
            activation=ACTIVATIONS.index(network.activation),
            width=max(*wide_in, *wide_out, panel),
            n_seen=len(seen),
            context=context,
            seen=self._ints(seen),
            features=features,
            kept=self._longs([0, *accumulate(kept)][:n]),
            given=self._longs([0, *accumulate(given)][: max(len(given), 1)]),
            given_row=self._given_row,
            reached=self._longs([0, *accumulate(reached)][:n]),
            forth_panel=self._longs(panels.forth),
            back_panel=self._longs(panels.back),
            kept_panel=self._longs(panels.kept),
            reached_panel=self._longs(panels.reached),
        )
        numbers = (ctypes.c_float * max(len(law.numbers), 1))(*law.numbers)
        self._held.append(numbers)
        self._program = _Program(
            net=net,
            law=LAWS.index(law.law),
            numbers=ctypes.addressof(numbers),
            counts=self._ints(law.counts),
            moved=len(moved),
            index=self._ints(moved),
            half=half,
        )
        self.at = ctypes.addressof(self._program)
        masks = [None if m is None else np.ascontiguousarray(m, dtype=np.uint8) for m in network.masks]
        self._held.append(masks)
        self._masks = (ctypes.c_void_p * n)(*[None if m is None else m.ctypes.data for m in masks])
        self.masks_at = ctypes.addressof(self._masks)
        self._levels = None if levels is None else levels_of(network, levels, context, params)

    @property
    def unrolls(self) -> bool:
        """Whether :meth:`unroll` can be called."""
        return self._levels is not None

    def room(self, rows: int) -> Room:
        """Return the numbers that a pass of so many rows needs."""
        words = -(-rows // self._pair)
        return Room(
            biases=self._biases,
            forth=self._forth,
            back=self._back,
            y=self._padded(rows * self.features),
            theta=rows * self._theta_row,
            kept=words * self._kept_row,
            given=rows * self._given_row,
        )

    def room_reached(self, rows: int) -> int:
        """Return the numbers that gradients take which reach the layers, of so many rows together."""
        return -(-rows // self._pair) * self._reached_row

    def unroll(
        self, parameters: Sequence[Tensor], z: Tensor, context: Tensor | None, y: Tensor, log_det: Tensor
    ) -> None:
        """Write what an autoregressive layer makes of z to ``y``, and add the log-determinant.

        Shapes: ``z`` and ``y`` are (rows, D), the context (rows, features), of float32 and contiguous.
        """
        assert self._levels is not None
        masks = [None if m is None else torch.from_numpy(m) for m in self.network.masks]
        weights = [
            (p.detach() if m is None else torch.where(m, p.detach(), 0.0)).contiguous()
            for p, m in zip(parameters[::2], masks, strict=True)
        ]
        biases = [p.detach().contiguous() for p in parameters[1::2]]
        n = len(weights)
        loaded().diffeo_unroll(
            self.at, ctypes.addressof(self._levels[0]), (ctypes.c_void_p * n)(*map(_address, weights)),
            (ctypes.c_void_p * n)(*map(_address, biases)), z.shape[0], z.data_ptr(),
            _address(context), self.inverted, y.data_ptr(), log_det.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip

    # -- how the structure is filled -------------------------------------------------------------

    def _padded(self, n: int) -> int:
        return -(-n // self._lanes) * self._lanes

    def _ints(self, values: Sequence[int]) -> int:
        return self._array(ctypes.c_int32, values)

    def _longs(self, values: Sequence[int]) -> int:
        return self._array(ctypes.c_int64, values)

    def _array(self, kind: Any, values: Sequence[int]) -> int:
        held = (kind * max(len(values), 1))(*values)
        self._held.append(held)
        return ctypes.addressof(held)

    def _ranges(self, every: Sequence[int], view: Any, pair: int) -> int:
        """Return, of so many rows of each layer's mask at a time, where it is True."""
        found: list[int] = []
        for (ins, outs), mask, rows in zip(self.network.sizes, self.network.masks, every, strict=True):
            table = view(np.ones((outs, ins), dtype=bool) if mask is None else mask)
            found.append(
                self._ints(
                    [n for start, stop in spans(table, rows) for n in (start // pair, -(-stop // pair))]
                )
            )
        held = (ctypes.c_void_p * len(found))(*found)
        self._held.append(held)
        return ctypes.addressof(held)


class Panels(NamedTuple):
    """Columns of a panel, of each layer of a network: see ``source/perceptron.h``.

    Attributes:
        forth, back: of the weights packed for either way.
        kept, reached: of what is kept of a layer's input, and of what reaches its output.
    """

    forth: list[int]
    back: list[int]
    kept: list[int]
    reached: list[int]


def panels_of(network: Network, panel: int, skipping: int, lanes: int) -> Panels:
    """Return the panels of a network's products.

    Those that go along an input or a gradient which ReLU often makes 0 skip the zeros, in wider panels,
    where there are enough columns.

    Args:
        network: with its steps and sizes.
        panel: columns of a panel of a product that skips nothing.
        skipping: most columns of a panel of one that does; 0 where none does.
        lanes: numbers of a vector.

    >>> steps = (("linear", 0), ("activation", 0), ("linear", 1))
    >>> panels_of(Network(steps, ((3, 256), (256, 44)), (None, None), "relu"), 16, 64, 8)
    Panels(forth=[16, 48], back=[16, 16], kept=[16, 16], reached=[16, 48])
    """
    steps, relu = network.steps, network.activation == "relu"
    pairs = [
        (steps[at - 1 : at], k, steps[at + 1 : at + 2]) for at, (s, k) in enumerate(steps) if s == "linear"
    ]
    after = {k for before, k, _ in pairs if relu and before and before[0][0] == "activation"}
    before = {k for _, k, behind in pairs if relu and behind and behind[0][0] == "activation"}
    most = skipping // lanes

    def wide(n: int, *, often: bool) -> int:
        vectors = -(-n // lanes)
        # With fewer sums under way than five, additions wait for one another.
        return -(-vectors // -(-vectors // most)) * lanes if most and often and vectors >= 5 else panel

    layers = list(enumerate(network.sizes))
    kept = [wide(i, often=k in before) for k, (i, _) in layers]
    return Panels(
        forth=[wide(o, often=k in after) for k, (_, o) in layers],
        back=[wide(i, often=k in before) for k, (i, _) in layers],
        kept=kept,
        reached=[wide(o, often=k in after and kept[k] == panel) for k, (_, o) in layers],
    )


def spans(mask: Mask, rows: int) -> list[tuple[int, int]]:
    """Return, of every ``rows`` rows, the columns from the first True to behind the last.

    >>> spans(np.tri(4, 3, dtype=bool), 2)
    [(0, 2), (0, 3)]
    """
    found: list[tuple[int, int]] = []
    for start in range(0, len(mask), rows):
        columns = np.flatnonzero(mask[start : start + rows].any(0))
        found.append((int(columns[0]), int(columns[-1]) + 1) if columns.size else (0, 0))
    return found


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def loaded() -> Any:
    """Return the library."""
    found = library()
    assert found is not None, "a Program is made where there is a library"
    return found
