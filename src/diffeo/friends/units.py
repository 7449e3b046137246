"""Fitting in standardised units, stating the density in the data's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError

Array = NDArray[np.float64]


def as_rows(x: Any) -> Array:
    """Return ``x`` as a float64 array of shape (rows, columns), or raise."""
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or rows.size == 0:
        raise DataError(f"x has shape {rows.shape}; expected (rows, columns) with at least one of each.")
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(1)))
        raise DataError(f"x has a value that is not finite, first in row {row}; leave such rows out.")
    return rows


@dataclass(frozen=True)
class Units:
    """u = (x − mean) / scale for each column; log p(x) = log p(u) − Σ log scale."""

    mean: Array
    scale: Array

    @classmethod
    def of(cls, rows: Array) -> Units:
        """Return the mean and standard deviation of each column (1 for a constant one)."""
        scale = rows.std(0)
        return cls(rows.mean(0), np.where(scale > 0, scale, 1.0))

    def to_standard(self, rows: Array) -> Array:
        """Return u."""
        return (rows - self.mean) / self.scale

    def to_data(self, standard: Array) -> Array:
        """Return x."""
        return standard * self.scale + self.mean

    @property
    def log_det(self) -> float:
        """Return log │det ∂u/∂x│ = −Σ log scale."""
        return float(-np.log(self.scale).sum())
