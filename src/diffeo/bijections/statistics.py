"""Robust statistics of training rows, for the bijections that are fitted to data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.errors import DataError

#: A standard normal's interquartile range.
_NORMAL_IQR = 1.3489795003921634


def finite_rows(x: Tensor, event_shape: torch.Size, what: str) -> Tensor:
    """Return the rows of ``x`` without NaN and infinities, as float64 of shape (rows, elements)."""
    flat = x.detach().double().reshape(-1, math.prod(event_shape))
    flat = flat[flat.isfinite().all(-1)]
    if flat.shape[0] == 0:
        raise DataError(
            f"x of shape {tuple(x.shape)} has no row of finite numbers; {what} needs at least one to be "
            "initialised from: pass complete rows."
        )
    return flat


def location_and_scale(rows: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """Return each column's location and scale; a constant column gets scale 1.

    ``method="robust"`` is (median, IQR / 1.349), with the standard deviation in place of an IQR of zero
    (half the values tied); ``"moments"`` is (mean, standard deviation). Columns are first divided by
    their largest magnitude, so that values of 1e±300 do not overflow in the squares.
    """
    size = rows.abs().amax(0)
    unit = torch.where(size > 0, size, 1.0)
    scaled = rows / unit
    mean = scaled.mean(0)
    deviation = (scaled - mean).square().mean(0).sqrt()
    if method == "robust":
        ordered = scaled.sort(0).values
        loc = _quantile(ordered, 0.5)
        spread = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / _NORMAL_IQR
        scale = torch.where(spread > 0, spread, deviation)
    else:
        loc, scale = mean, deviation
    # A spread below the rounding of the values themselves is no spread.
    constant = scale <= 4 * torch.finfo(torch.float64).eps
    return loc * unit, torch.where(constant, 1.0, scale * unit)


def _quantile(ordered: Tensor, q: float) -> Tensor:
    position = q * (ordered.shape[0] - 1)
    low, high = math.floor(position), math.ceil(position)
    return torch.lerp(ordered[low], ordered[high], position - low)
