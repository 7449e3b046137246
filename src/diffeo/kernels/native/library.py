"""The compiled kernels, loaded where there are any."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import os
from dataclasses import dataclass
from typing import Any

from diffeo.kernels.native.build import build, is_kept, kept_at

#: The bins of a spline that the kernels have room for.
MOST_BINS = 64

#: The laws that the kernels know, by their numbers there.
LAWS = ("additive", "affine", "rational quadratic")


@dataclass(frozen=True)
class Compiled:
    """How a law is called in the compiled kernels.

    Attributes:
        law: "additive", "affine" or "rational quadratic".
        numbers, counts: its fields, in the order of ``source/laws.h`` and ``source/spline.h``.
        inverted: whether the law stands the other way round.
    """

    law: str
    numbers: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    inverted: bool = False


def kept() -> bool:
    """Return whether the kernels were compiled on this machine before: using them then costs nothing."""
    return library.cache_info().currsize > 0 or (_wanted() and is_kept(kept_at()))


@functools.lru_cache(maxsize=1)
def library() -> Any | None:
    """Return the compiled library, compiled now if it is not kept; None where that cannot be done.

    ``DIFFEO_NATIVE=0`` in the environment turns it off.
    """
    found = _loaded()
    if found is None:
        return None
    pointer, count, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    found.diffeo_forward.argtypes = [pointer, count, count, *[pointer] * 3, count]
    found.diffeo_backward.argtypes = [
        pointer, count, count, *[pointer] * 3, flag, *[pointer] * 3, count, count,
    ]  # fmt: skip
    found.diffeo_unroll.argtypes = [*[pointer] * 4, count, *[pointer] * 2, flag, *[pointer] * 2, count]
    for name in ("forward", "backward", "unroll"):
        getattr(found, f"diffeo_{name}").restype = None
    return found


def _loaded() -> Any | None:
    """Return the library as it is; one that cannot be loaded is compiled once more."""
    for _ in range(2):
        path = build() if _wanted() else None
        if path is None:
            return None
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            logging.getLogger("diffeo.kernels").info("the compiled kernels cannot be loaded: %s", error)
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def has_bfloat16() -> bool:
    """Return whether the kernels multiply in bfloat16 here: the processor has to."""
    found = library()
    return found is not None and bool(found.diffeo_has_half())


def _wanted() -> bool:
    return os.environ.get("DIFFEO_NATIVE", "1") != "0"
