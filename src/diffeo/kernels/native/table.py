"""A run of layers as the compiled kernels take it: one call forth, one call back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffeo.kernels.native.pool import Pool
from diffeo.kernels.native.program import Program, loaded

#: Rows of a thread between two sums into the gradients of weights, as in ``source/run.h``.
ROWS_A_THREAD = 256

#: Numbers that memory of a layer begins at a multiple of: a cache line.
_LINE = 16

#: The fields of ``Item`` in ``source/run.h``; those from "packed" on are places in memory.
_FIELDS = (
    "program", "inverse", "masks", "parameters", "gradients",
    "packed", "biases", "y", "theta", "kept", "given",
)  # fmt: skip
_PROGRAM, _INVERSE, _MASKS, _PARAMETERS, _GRADIENTS, _MEMORY = range(6)
_Y = _FIELDS.index("y")


class Layout(NamedTuple):
    """Where the memory of a pass lies: of each layer from "packed" on, in bytes; −1 is nothing."""

    places: npt.NDArray[np.int64]
    numbers: int


class Passed(NamedTuple):
    """What the way back needs of a pass: its memory, and the table of the layers that points there."""

    memory: Tensor
    items: npt.NDArray[np.int64]
    pointers: npt.NDArray[np.int64]


class Table:
    """Layers one after another in one direction, for float32 rows on the processor.

    Args:
        programs: the layers, in the order in which the direction takes them.
        inverse: the direction.
        pool: where memory is taken from.
    """

    def __init__(self, programs: Sequence[Program], *, inverse: bool, pool: Pool) -> None:
        self._programs, self._pool = tuple(programs), pool  # the structures point into the programs
        self.context = max(program.context for program in programs)
        self._sizes = [
            size for program in programs for i, o in program.network.sizes for size in ((o, i), (o,))
        ]
        counts = [2 * len(program.network.sizes) for program in programs]
        self._starts = np.cumsum([0, *counts], dtype=np.int64)[:-1] * 8
        self._template = np.zeros((len(programs), len(_FIELDS)), dtype=np.int64)
        self._template[:, _PROGRAM] = [program.at for program in programs]
        self._template[:, _INVERSE] = [inverse != program.inverted for program in programs]
        self._template[:, _MASKS] = [program.masks_at for program in programs]
        self._known: tuple[tuple[int, bool], Layout] | None = None

    def forward(
        self,
        parameters: Sequence[Tensor],
        x: Tensor,
        context: Tensor | None,
        y: Tensor,
        log_det: Tensor,
        *,
        keep: bool,
    ) -> Passed | None:
        """Write the value of rows to ``y``, and add the log-determinant to ``log_det``.

        With ``keep``, return what the way back needs, taken from the pool.

        Args:
            parameters: (weight, bias) of each layer of each network in turn.
            x: (rows, D), of float32 and contiguous, as all that follow.
            context: (rows, features).
            y: (rows, D), another tensor than x.
            log_det: (rows,).
            keep: whether there is a way back.
        """
        assert all(t is None or t.is_contiguous() for t in (x, context, y))
        layout = self._layout(x.shape[0], keep)
        memory = self._pool.take(layout.numbers)
        held = [p if p.is_contiguous() else p.detach().contiguous() for p in parameters]
        pointers = np.array([p.data_ptr() for p in held], dtype=np.int64)
        items = self._template.copy()
        items[:, _PARAMETERS] = _address(pointers) + self._starts
        items[:, _MEMORY:] = np.where(layout.places < 0, 0, layout.places + memory.data_ptr())
        if keep:
            items[-1, _Y] = y.data_ptr()
        else:
            items[:, _Y] = y.data_ptr()  # a tile's rows are read before they are written
        loaded().diffeo_forward(
            _address(items), len(items), x.shape[0], x.data_ptr(), _pointer(context), log_det.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        if keep:
            return Passed(memory, items, pointers)
        self._pool.give(memory)
        return None

    def backward(
        self,
        passed: Passed,
        x: Tensor,
        to_y: Tensor,
        to_log_det: Tensor,
        to_x: Tensor,
        to_context: Tensor | None,
        gradients: Sequence[int],
        *,
        to_input: bool,
    ) -> None:
        """Write the gradients towards x, the context and the parameters; give the pass's memory back.

        Those towards x and the context are right with ``to_input`` only.

        Args:
            passed: of :meth:`forward`; it is gone afterwards.
            x: what :meth:`forward` was given.
            to_y: the gradient towards the value that it wrote.
            to_log_det: the one towards the log-determinant.
            to_x: memory of the shape of x.
            to_context: memory of the shape of the context.
            gradients: the address of each parameter's gradient, which is contiguous.
            to_input: whether anyone asks for those of x and the context.
        """
        assert all(t.is_contiguous() for t in (x, to_y, to_log_det))
        rows, threads = x.shape[0], torch.get_num_threads()
        together = min(rows, ROWS_A_THREAD * threads)
        room = max(_lined(program.room_reached(together)) for program in self._programs)
        reached = self._pool.take(2 * room)
        items, pointers = passed.items, np.array(gradients, dtype=np.int64)
        items[:, _GRADIENTS] = _address(pointers) + self._starts
        # A recovered step's pass was that of the other direction.
        items[:, _INVERSE] = self._template[:, _INVERSE]
        loaded().diffeo_backward(
            _address(items), len(items), rows, x.data_ptr(), to_y.data_ptr(), to_log_det.data_ptr(),
            to_input, to_x.data_ptr(), _pointer(to_context), reached.data_ptr(), room, threads,
        )  # fmt: skip
        self._pool.give(reached, passed.memory)

    def places(self, like: Tensor) -> list[Tensor]:
        """Return memory for the gradient of each parameter."""
        return [like.new_empty(size) for size in self._sizes]

    def _layout(self, rows: int, keep: bool) -> Layout:
        """Return where memory lies; that of the last pass is at hand, since most have as many rows."""
        known = self._known
        if known is not None and known[0] == (rows, keep):
            return known[1]
        places: list[list[int]] = []
        end = 0

        def take(numbers: int, *, wanted: bool = True) -> int:
            nonlocal end
            if not (numbers and wanted):
                return -1
            start, end = end, end + _lined(numbers)
            return 4 * start

        for at, program in enumerate(self._programs):
            room = program.room(rows)
            packed = room.forth + room.back if keep else room.forth
            places.append(
                [
                    take(packed),
                    take(room.biases),
                    take(room.y, wanted=keep and at + 1 < len(self._programs)),
                    *(take(numbers, wanted=keep) for numbers in (room.theta, room.kept, room.given)),
                ]
            )
        layout = Layout(np.array(places, dtype=np.int64), end)
        self._known = (rows, keep), layout
        return layout


def _lined(numbers: int) -> int:
    """Return ``numbers``, rounded up to whole cache lines."""
    return -(-numbers // _LINE) * _LINE


def _address(array: npt.NDArray[np.int64]) -> int:
    return array.ctypes.data


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
