"""What a set is: a name, where it lies, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.density.protocol import Table


@dataclass(frozen=True)
class Source:
    """One set.

    Attributes:
        name: what stands in a table of figures.
        read: takes the folder of data; returns a :class:`~benchmarks.density.protocol.Table` for the
            numeric part, a polars frame for the native part.
        file: what must be there, relative to the folder of data; empty for what scikit-learn brings along.
        native: whether the table is measured as it is: categories, counts, holes.
        asked: whether it is left out unless it is asked for by name.
    """

    name: str
    read: Callable[[Path], Any]
    file: str = ""
    native: bool = False
    asked: bool = False

    def lies_in(self, folder: Path | None) -> bool:
        """Return whether the set can be read."""
        return not self.file or (folder is not None and (folder / self.file).exists())


def numbers(x: Any, columns: Any = None, **more: Any) -> Table:
    """Return a table of numbers; columns without names are called by their place.

    >>> numbers([[1, 2]]).columns
    ('0', '1')
    """
    rows = np.asarray(x, np.float64)
    names = [str(k) for k in range(rows.shape[1])] if columns is None else [str(c) for c in columns]
    return Table(rows, tuple(names), **more)
