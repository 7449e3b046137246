"""Compiled kernels for the processor: whole layers of the laws that most flows have, and derivatives."""

from diffeo.kernels.native.library import MOST_BINS, Compiled, has_bfloat16, kept, library
from diffeo.kernels.native.network import ACTIVATIONS, Network
from diffeo.kernels.native.pool import Pool
from diffeo.kernels.native.program import Program
from diffeo.kernels.native.table import Passed, Table

__all__ = [
    "ACTIVATIONS",
    "MOST_BINS",
    "Compiled",
    "Network",
    "Passed",
    "Pool",
    "Program",
    "Table",
    "has_bfloat16",
    "kept",
    "library",
]
