"""The real tables: those that scikit-learn brings along, and those of a folder of data.

Images (MNIST, CIFAR-10, faces) are no tables, and are not here.
"""

from __future__ import annotations

from benchmarks.density.sets import arrays, bundled, photographs, text
from benchmarks.density.sets.source import Source


def sources() -> list[Source]:
    """Return every set that is known, of the numeric part and of the native one."""
    return [*bundled.sources(), *text.sources(), *arrays.sources(), *photographs.sources()]


__all__ = ["Source", "sources"]
