"""Patterns: which elements of a map's result may depend on which elements of its argument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Booleans. numpy's, as the graphs of conditioners are.
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pattern:
    """A promise about a Jacobian, the events flattened to D elements.

    Attributes:
        may: (D, D), False at [i, j] where ∂ out_i / ∂ in_j is exactly 0, whatever the parameters.
        kept: (D,), True where out_i is in_i itself.
    """

    may: Booleans
    kept: Booleans


def lower(size: int, upper: bool = False) -> Pattern:
    """Return the pattern of a lower (or upper) triangular Jacobian.

    >>> lower(2).may.astype(int)
    array([[1, 0],
           [1, 1]])
    """
    may = np.tri(size, dtype=np.bool_)
    return Pattern(may.T if upper else may, np.zeros(size, np.bool_))


def along(graph: Booleans, *, whole: bool = False) -> Pattern:
    """Return the pattern in which each element depends on itself and on its parents in ``graph``.

    With ``whole`` it depends on its parents' parents too, and so on: as the roots of a triangular system
    do, each of which is found with the others put in.

    >>> chain = np.eye(3, k=-1, dtype=np.bool_)
    >>> along(chain).may.astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [0, 1, 1]])
    >>> along(chain, whole=True).may.astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    may = graph | np.eye(len(graph), dtype=np.bool_)
    while whole:
        further = may @ may
        if (further == may).all():
            break
        may = further
    return Pattern(may, np.zeros(len(graph), np.bool_))


def passing(passed: Booleans) -> Pattern:
    """Return the pattern of a coupling: what is passed is kept, the rest depends on it and on itself.

    >>> passing(np.array([True, False])).may.astype(int)
    array([[1, 0],
           [1, 1]])
    """
    return Pattern(np.eye(len(passed), dtype=np.bool_) | (~passed[:, None] & passed), passed)
