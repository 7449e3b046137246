"""Classes of images: by name or by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError, ShapeError


def numbers_of(labels: Any, n: int, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return ``n`` numbers of classes, of names or numbers, one for all or one each.

    Raises:
        DataError: a name or number is no class's.
        ShapeError: there are neither one nor ``n``, or they are of another kind.

    >>> numbers_of("b", 3, ("a", "b")).tolist()
    [1, 1, 1]
    """
    given = np.atleast_1d(np.asarray(labels))
    if given.dtype.kind in "US":
        unknown = [str(name) for name in given if str(name) not in classes]
        if unknown:
            raise DataError(
                f"label {unknown[0]!r} is no class of the model; expected one of {', '.join(classes)}."
            )
        given = np.array([classes.index(str(name)) for name in given])
    if given.dtype.kind not in "iu" or given.shape not in ((1,), (n,)):
        raise ShapeError(
            f"labels has shape {given.shape} and dtype {given.dtype}; expected one class, or {n}, by "
            "name or number."
        )
    if ((given < 0) | (given >= len(classes))).any():
        raise DataError(
            f"labels has {int(given.min())} to {int(given.max())}; expected 0 to "
            f"{len(classes) - 1}, the numbers of the model's classes."
        )
    return np.broadcast_to(given, (n,)).astype(np.int64)
