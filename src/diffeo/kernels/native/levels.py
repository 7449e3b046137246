"""When each unit of a masked network becomes known, as features become known one after another."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from diffeo.kernels.native.network import Network

Ints = npt.NDArray[np.int64]


class _Levels(ctypes.Structure):
    """``Levels`` of ``source/unroll.h``."""

    _fields_ = [
        ("n_levels", ctypes.c_int64),
        *[(name, ctypes.c_void_p) for name in ("runs", "run_starts", "features", "starts")],
        ("outs", ctypes.c_int64),
    ]


def known_at(network: Network, levels: Sequence[Sequence[int]], context: int) -> list[Ints]:
    """Return, after each step, the level at which each unit of the stream is known.

    Before level 0 the context is known; the features of level t are before level t + 1. A unit that sees
    nothing is known at 0.

    >>> ladder = np.tri(3, 3, -1, dtype=bool)
    >>> known_at(Network((("linear", 0),), ((3, 3),), (ladder,), "relu"), [[0], [1], [2]], 0)
    [array([0, 1, 2])]
    """
    features = sum(len(level) for level in levels)
    given = np.zeros(features + context, dtype=np.int64)
    for t, level in enumerate(levels):
        given[list(level)] = t + 1
    stream, opened, found = given, list[Ints](), list[Ints]()
    for step, k in network.steps:
        if step in ("linear", "direct"):
            mask = network.masks[k]
            source = stream if step == "linear" else given
            table = np.ones(network.sizes[k][::-1], dtype=bool) if mask is None else mask
            own = np.where(table, source[None, :], 0).max(-1, initial=0)
            stream = own if step == "linear" else np.maximum(stream, own)
        elif step == "begin":
            opened.append(stream)
        elif step == "end":
            stream = np.maximum(stream, opened.pop())
        found.append(stream)
    return found


def levels_of(
    network: Network, levels: Sequence[Sequence[int]], context: int, params: int
) -> tuple[Any, list[Any]] | None:
    """Return the structure that the kernels read, and what it points at.

    None where θ of a feature is not known in time.
    """
    found = known_at(network, levels, context)
    for t, level in enumerate(levels):
        for feature in level:
            if found[-1][feature * params : (feature + 1) * params].max(initial=0) > t:
                return None
    runs: list[int] = []
    run_starts = [0]
    for t in range(len(levels)):
        for (step, k), known in zip(network.steps, found, strict=True):
            for run in _runs(np.flatnonzero(known == t)):
                read = np.empty(0)
                if step in ("linear", "direct"):
                    mask = network.masks[k]
                    whole = np.arange(network.sizes[k][0])
                    read = whole if mask is None else np.flatnonzero(mask[run[0] : run[1]].any(0))
                runs += [*run, *((int(read[0]), int(read[-1]) + 1) if read.size else (0, 0))]
            run_starts.append(len(runs) // 4)
    starts = [0, *accumulate(len(level) for level in levels)]
    flat = [feature for level in levels for feature in level]
    held = [(ctypes.c_int32 * max(len(v), 1))(*v) for v in (runs, run_starts, flat, starts)]
    addresses = [ctypes.addressof(each) for each in held]
    return _Levels(len(levels), *addresses, params), held


def _runs(units: Ints) -> list[tuple[int, int]]:
    """Return where rising numbers follow one another without a gap: each run's first, and behind its last.

    >>> _runs(np.array([0, 1, 4]))
    [(0, 2), (4, 5)]
    """
    pieces = np.split(units, np.flatnonzero(np.diff(units) > 1) + 1)
    return [(int(piece[0]), int(piece[-1]) + 1) for piece in pieces if piece.size]
