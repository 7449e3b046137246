"""Two samples side by side: checked, flattened, and no larger than a measure needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.kernels.arrays import as_numbers

Array = NDArray[np.float64]

#: Rows of a sample that a measure looks at, at most: a table of all distances grows with their square.
MOST = 2_000


def sample_of(argument: str, given: Any, least: int = 2) -> Array:
    """Return a sample as float64 (rows, numbers a row); images are flattened.

    Raises:
        DataError: it has too few rows, or a value that is not finite.
    """
    rows = as_numbers(argument, given)
    if rows.ndim < 2 or len(rows) < least or not rows[0].size:
        raise DataError(
            f"{argument} has shape {rows.shape}; expected (rows, …), at least {least} rows of at least one "
            "number each: reshape it, or take more rows."
        )
    rows = rows.reshape(len(rows), -1)
    hostile = ~np.isfinite(rows).all(1)
    if hostile.any():
        raise DataError(
            f"{argument} has {int(hostile.sum())} row(s) with a value that is not finite, first row "
            f"{int(hostile.argmax())}; expected numbers: leave such rows out."
        )
    return rows


def two_samples(x: Any, y: Any, names: tuple[str, str] = ("x", "y"), least: int = 2) -> tuple[Array, Array]:
    """Return two samples of equally wide rows, or raise :class:`~diffeo.errors.DataError`."""
    a, b = sample_of(names[0], x, least), sample_of(names[1], y, least)
    if a.shape[1] != b.shape[1]:
        raise DataError(
            f"{names[0]} has {a.shape[1]} numbers a row and {names[1]} {b.shape[1]}; expected as many: "
            "pass the same columns."
        )
    return a, b


def at_most(rows: Array, most: int, draws: np.random.Generator) -> Array:
    """Return a random choice of ``most`` rows, in their order; all rows if they are no more."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(draws.choice(len(rows), most, replace=False))]


def distances(a: Array, b: Array) -> Array:
    """Return ‖aᵢ − bⱼ‖, from differences: products would lose the digits of near rows."""
    apart = torch.cdist(torch.as_tensor(a), torch.as_tensor(b), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.numpy()


def in_words(p_value: float) -> str:
    """Return a p-value as text.

    >>> in_words(0.2031), in_words(1e-9)
    ('p = 0.203', 'p < 0.001')
    """
    return f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"
