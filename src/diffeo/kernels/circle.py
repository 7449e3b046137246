"""Numbers as points of a circle: x and x + length are the same point.

A map of the circle is carried over to all numbers turn by turn: a number that lies n turns away from
[−half, half] is moved as the point of the circle that it stands for, and stays n turns away. So the map is
a bijection of ℝ, what lies outside [−half, half] stays outside it, and a base that has no density there
says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffeo.kernels.safe import split_safe


def wrap(x: Tensor, half: float) -> Tensor:
    """Return the point of [−half, half] that lies whole turns away from x; 0 for NaN and infinities.

    >>> wrap(torch.tensor([0.5, 3.5, -7.0]), 1.0)
    tensor([ 0.5000, -0.5000, -1.0000])
    """
    _, safe = split_safe(x)
    turns = torch.floor((safe + half) / (2 * half)).detach()
    return kept_within(safe - 2 * half * turns, half)


def kept_within(value: Tensor, half: float) -> Tensor:
    """Return ``value``, which only rounding may have taken out of [−half, half], inside it."""
    fixed = value.detach()
    return value + (fixed.clamp(-half, half) - fixed)


def point_of(value: Tensor, half: float) -> Tensor:
    """Return ``value`` where it lies within [−half, half], both ends included, else :func:`wrap` of it."""
    return torch.where(value.abs() <= half, value, wrap(value, half))


def carried(value: Tensor, point: Tensor, moved: Tensor, half: float) -> Tensor:
    """Return ``moved``, the image of ``point``, as many turns away as ``value`` is from ``point``.

    >>> value = torch.tensor([0.5, 3.5])
    >>> point = point_of(value, 1.0)
    >>> carried(value, point, point + 0.25, 1.0)
    tensor([0.7500, 3.7500])
    """
    return torch.where(value.abs() <= half, moved, value + (moved - point))


def arc(difference: Tensor, length: float | None) -> Tensor:
    """Return how far apart two points are, for their difference: on a circle, the shorter way round.

    >>> arc(torch.tensor([0.5, 1.75]), 2.0)
    tensor([ 0.5000, -0.2500])
    """
    if length is None:
        return difference
    return torch.where(
        difference.isfinite(), difference - length * (difference / length).round(), difference
    )
