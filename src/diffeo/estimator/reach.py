"""Numbers at the edge of what can be computed: huge and tiny columns, and numbers at their bounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.tables.variable import Variable

Array = NDArray[np.float64]

#: Beyond this, and below its inverse, squares leave float64.
_LARGE = 1e100


def units_of(value: Array) -> Array:
    """Return 1 for columns of ordinary size, and a power of two near their largest number for others.

    >>> units_of(np.array([[1.0, 2e200], [-5.0, -1e200]])).tolist() == [1.0, 2.0**666]
    True
    """
    size = np.abs(np.where(np.isfinite(value), value, 0.0)).max(0, initial=0.0)
    extreme = (size > _LARGE) | ((size < 1 / _LARGE) & (size > 0))
    exponent = np.frexp(np.where(extreme, size, 1.0))[1].astype(np.float64)
    return np.where(extreme, np.exp2(np.clip(exponent, -1021, 1023)), 1.0)


def check_reach(variables: Sequence[Variable], value: Array) -> None:
    """Raise :class:`DataError` where numbers of a continuous column are of sizes too far apart."""
    size = np.abs(value)
    for k, variable in enumerate(variables):
        numbers = size[np.isfinite(size[:, k]) & (size[:, k] > 0), k]
        if variable.lattice or not numbers.size:
            continue
        decades = np.log10(numbers.max()) - np.log10(numbers.min())
        if decades > 2 * np.log10(_LARGE):
            raise DataError(
                f"column {variable.name!r:.60} has numbers of sizes from {numbers.min():.3g} to "
                f"{numbers.max():.3g}; expected less than 200 decades: model its logarithm."
            )


def off_bounds(variables: Sequence[Variable], value: Array, inside: Array) -> Array:
    """Return values in which a number at its bound is the nearest of ``inside``, (2, columns).

    The density at a bound itself, where no number has mass, is said to be that there.

    >>> rain = Variable("rain", 0, numeric=True, low=0.0)
    >>> off_bounds([rain], np.array([[0.0], [3.0]]), np.array([[0.5], [9.0]])).tolist()
    [[0.5], [3.0]]
    """
    value = value.copy()
    for k, variable in enumerate(variables):
        for bound, nearest in zip((variable.low, variable.high), inside[:, k], strict=True):
            if bound is not None:
                value[value[:, k] == bound, k] = nearest
    return value
