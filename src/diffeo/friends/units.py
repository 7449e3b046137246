"""Fitting in standardised units, stating the density in the data's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.kernels.arrays import as_numbers

Array = NDArray[np.float64]


def as_rows(x: Any) -> Array:
    """Return ``x`` as a float64 array of shape (rows, columns), or raise."""
    rows = as_numbers("x", x)
    if rows.ndim != 2 or rows.size == 0:
        raise DataError(
            f"x has shape {rows.shape}; expected (rows, columns) with at least one of each: reshape it."
        )
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(1)))
        raise DataError(
            f"x has a value that is not finite, first in row {row}; expected numbers: leave such rows out."
        )
    return rows


def as_events(x: Any, event: Sequence[int] | None = None) -> tuple[Array, tuple[int, ...]]:
    """Return ``x``, rows of numbers or of images (C, H, W), as (rows, numbers), and the shape of one.

    Args:
        x: the rows.
        event: the shape that they must have, if it is known.

    Raises:
        DataError: the rows have another shape, or hold what is no finite number.
    """
    found = as_numbers("x", x)
    if found.ndim not in (2, 4) or found.size == 0:
        raise DataError(
            f"x has shape {found.shape}; expected (rows, columns), or (rows, C, H, W) for images, with at "
            "least one of each: reshape it."
        )
    shape = tuple(found.shape[1:])
    if event is not None and shape != tuple(event):
        wanted = ", ".join(map(str, ("rows", *event)))
        raise DataError(f"x has shape {found.shape}; expected ({wanted}), as it was fitted to: reshape it.")
    # A copy: torch takes no negative strides, and warns of memory that may not be written.
    return np.array(as_rows(found.reshape(len(found), -1)), order="C"), shape


@dataclass(frozen=True)
class Units:
    """u = (x − mean) / scale for each column; log p(x) = log p(u) − Σ log scale."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, rows: Array) -> Units:
        """Return the mean and standard deviation of each column (1 for a constant one)."""
        if len(rows) < 2:
            raise DataError(f"x has {len(rows)} row; expected at least 2, to have a spread: add rows.")
        # Divided by the largest magnitude first, so that squares of 1e±300 neither overflow nor vanish.
        size = np.abs(rows).max(0)
        unit = np.where(size > 0, size, 1.0)
        scale = (rows / unit).std(0) * unit
        return cls((rows / unit).mean(0) * unit, np.where(scale > 0, scale, 1.0))

    def to_standard(self, rows: Array) -> Array:
        """Return u."""
        if rows.shape[1] != len(self.mean):
            raise DataError(
                f"x has shape {rows.shape}; expected (rows, {len(self.mean)}), as it was fitted to: pass "
                "the same columns."
            )
        return (rows - self.mean) / self.scale

    def to_data(self, standard: Array) -> Array:
        """Return x."""
        return standard * self.scale + self.mean

    @property
    def log_det(self) -> float:
        """Return log │det ∂u/∂x│ = −Σ log scale."""
        return float(-np.log(self.scale).sum())
