"""Robust statistics of training rows, for the bijections that are fitted to data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffeo.errors import DataError

#: Values further from the median than this many robust scales are no part of a range.
_FAR = 10.0

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
    (half the values tied); ``"moments"`` is (mean, standard deviation); ``"range"`` is the middle and half
    the width of the range of the values within ten robust scales of the median, so that a stray one does
    not stretch it. Columns are first divided by their largest magnitude, so that values of 1e±300 do not
    overflow in the squares.

    >>> location_and_scale(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [1e6]]), "range")
    (tensor([2.]), tensor([2.]))
    """
    size = rows.abs().amax(0)
    unit = torch.where(size > 0, size, 1.0)
    scaled = rows / unit
    mean = scaled.mean(0)
    deviation = (scaled - mean).square().mean(0).sqrt()
    loc, scale = mean, deviation
    if method != "moments":
        ordered = scaled.sort(0).values
        loc = _quantile(ordered, 0.5)
        spread = (_quantile(ordered, 0.75) - _quantile(ordered, 0.25)) / _NORMAL_IQR
        scale = torch.where(spread > 0, spread, deviation)
    if method == "range":
        near = (scaled - loc).abs() <= _FAR * scale
        low = torch.where(near, scaled, torch.inf).amin(0)
        high = torch.where(near, scaled, -torch.inf).amax(0)
        loc, scale = (low + high) / 2, (high - low) / 2
    # A spread below the rounding of the values themselves (not of a stray one) is no spread.
    constant = scale <= 4 * torch.finfo(torch.float64).eps * loc.abs()
    return loc * unit, torch.where(constant, 1.0, scale * unit)


def _quantile(ordered: Tensor, q: float) -> Tensor:
    position = q * (ordered.shape[0] - 1)
    low, high = math.floor(position), math.ceil(position)
    return torch.lerp(ordered[low], ordered[high], position - low)
