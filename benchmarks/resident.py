"""How much memory this process holds, and the most that it held.

On a CPU, resident memory as Linux counts it (VmRSS, VmHWM); on a GPU, what torch's allocator gave out.
"""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(field: str) -> int:
    """Return a field of the status of this process ("VmRSS", "VmHWM"), in bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.M)
    return int(found[1]) * 1024 if found else 0


def _settled(gpu: bool) -> int:
    """Return what is held now, and let the peak begin anew from it."""
    gc.collect()
    if gpu:
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text("5")
    return resident("VmRSS")


def _peak(gpu: bool) -> int:
    if gpu:
        import torch

        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated())
    return resident("VmHWM")


class Memory:
    """Two peaks: of everything since before the first step, and of a step in the middle of training."""

    def __init__(self, device: str) -> None:
        self.gpu = device == "cuda"

    def before(self) -> None:
        """Begin, with the flow built and no step taken."""
        self.start = _settled(self.gpu)

    def between(self) -> None:
        """Note the peak of the first steps, in which things are compiled, and begin with later ones."""
        self.first = _peak(self.gpu)
        self.steady = _settled(self.gpu)

    def after(self) -> dict[str, int]:
        """Return bytes: the peak since before the first step, and a later step's beyond its start."""
        last = _peak(self.gpu)
        return {"peak": max(self.first, last) - self.start, "step": last - self.steady}
