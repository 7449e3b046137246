"""Solvers of dy/ds = f(s, y) from s = 0 to 1 in which every row goes its own way.

The usual adaptive solver (that of torchdiffeq, say) takes one step size for a whole batch: a hostile row
then changes the steps, and so the answers, of all others, and one NaN holds everybody up for ever. Here
each row has its own time, its own step and its own end; a row that has arrived stays where it is. Its
answer has the same bits whatever rows are beside it, at the price of evaluating f for all rows until the
slowest has arrived.

Derivatives go through the steps that were taken (the sizes of the steps are constants to them), so that all
orders of them exist and are those of the value that was returned. They need the memory of all stages: there
is no adjoint equation here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.errors import ConfigError
from diffeo.kernels.roots import certain

#: (s, y) ↦ dy/ds; s is (rows, 1), y is (rows, n).
Field = Callable[[Tensor, Tensor], Tensor]

#: Dormand & Prince (1980), table 2: where the stages lie, what they are made of, and the two answers.
_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
)
_FIFTH = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)
_FOURTH = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
_ERROR = tuple(a - b for a, b in zip((*_FIFTH, 0.0), _FOURTH, strict=True))


class Solution(NamedTuple):
    """Where rows arrived, and how.

    Attributes:
        value: y(1), (rows, n); of a row that did not arrive, where it was left.
        evaluations: how often f was needed for the row, (rows,).
        finished: whether the row arrived at s = 1, (rows,).
    """

    value: Tensor
    evaluations: Tensor
    finished: Tensor


def finest(dtype: torch.dtype) -> float:
    """Return the finest tolerance of a step: eight roundings. No step would ever do for a finer one."""
    return 8 * torch.finfo(dtype).eps


def rk4(field: Field, start: Tensor, steps: int) -> Solution:
    """Return y(1) by ``steps`` equal steps of the classical method of order four.

    Source: Kutta (1901); Hairer, Nørsett & Wanner, *Solving ordinary differential equations I* (1993),
    table II.1.2. The error falls as steps⁻⁴, and nothing says how large it is.

    >>> rk4(lambda s, y: y, torch.ones(1, 1, dtype=torch.float64), 100).value - torch.e
    tensor([[-2.2...e-10]], dtype=torch.float64)
    """
    h, y = 1.0 / steps, start
    column = torch.zeros_like(start[:, :1])
    for k in range(steps):
        k1 = field(column + k * h, y)
        k2 = field(column + (k + 0.5) * h, y + (h / 2) * k1)
        k3 = field(column + (k + 0.5) * h, y + (h / 2) * k2)
        k4 = field(column + (k + 1) * h, y + h * k3)
        y = y + (h / 6) * (k1 + 2 * (k2 + k3) + k4)
    time = column[:, 0]
    return Solution(y, time + 4 * steps, time == 0)


def dopri5(field: Field, start: Tensor, rtol: float, atol: float, max_steps: int) -> Solution:
    """Return y(1) by Dormand and Prince's pair of orders 5 and 4, each row with steps of its own.

    A step is taken where the root mean square, over the row's own elements, of error / (atol + rtol · |y|)
    is at most 1; the fifth-order answer is carried on. Tolerances are at least :func:`finest`. A row is
    given up after ``max_steps`` steps, taken or not, or when its step is less than a rounding of s.

    Source: Dormand & Prince, *A family of embedded Runge–Kutta formulae* (1980); Hairer, Nørsett & Wanner
    (1993), section II.4.

    Raises:
        ConfigError: called inside ``torch.compile``, which cannot ask whether rows have arrived.

    >>> dopri5(lambda s, y: y, torch.ones(1, 1, dtype=torch.float64), 1e-9, 1e-9, 100).value.item()
    2.71828182...
    """
    if torch.compiler.is_compiling():
        raise ConfigError(
            'solver="dopri5" takes as many steps as its rows need, which one compiled graph cannot; '
            'expected a fixed number of steps: build the layer with solver="rk4", or leave it uncompiled.'
        )
    least, shortest = finest(start.dtype), torch.finfo(start.dtype).eps
    rtol, atol = max(rtol, least), max(atol, least)
    y, time = start, torch.zeros_like(start[:, :1])
    slope = field(time, y)
    step = _first_step(field, y, slope, rtol, atol)
    evaluations = torch.full_like(time, 2.0)
    going = step >= shortest  # False for NaN
    for _ in range(max_steps):
        left = 1.0 - time
        last = step >= left
        h = torch.where(going, torch.where(last, left, step), 0.0)  # at 0 a row stays, to the bit
        slopes = [slope]
        for node, weights in zip(_NODES, _STAGES, strict=True):
            slopes.append(field(time + node * h, y + h * _combined(weights, slopes)))
        ahead = y + h * _combined(_FIFTH, slopes)
        slopes.append(field(time + h, ahead))
        with torch.no_grad():
            scale = atol + rtol * torch.maximum(y.abs(), ahead.abs())
            off = _size(h * _combined(_ERROR, slopes) / scale)
            taken = going & (off <= 1.0)  # False for NaN
            factor = (0.9 * off.clamp(min=1e-10) ** -0.2).clamp(0.2, 10.0)
            step = torch.where(going, h * torch.nan_to_num(factor, nan=0.2), step)
            evaluations = evaluations + torch.where(going, 6.0, 0.0)
            time = torch.where(taken, torch.where(last, 1.0, time + h), time)
        y, slope = torch.where(taken, ahead, y), torch.where(taken, slopes[-1], slope)
        going = (time < 1.0) & (step >= shortest)
        if certain(~going):
            break
    return Solution(y, evaluations[:, 0], time[:, 0] >= 1.0)


@torch.no_grad()
def _first_step(field: Field, y: Tensor, slope: Tensor, rtol: float, atol: float) -> Tensor:
    """Return a step whose error should be about a hundredth of the tolerance, from f and its change."""
    probe = torch.full_like(y[:, :1], 0.01)
    change = (field(probe, y + probe * slope) - slope) / probe
    scale = atol + rtol * y.abs()
    speed = torch.maximum(_size(slope / scale), _size(change / scale))
    return ((0.01 / speed.clamp(min=0.01)) ** 0.2).clamp(min=1e-3)


def _combined(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    total = weights[0] * slopes[0]
    for weight, slope in zip(weights[1:], slopes[1:], strict=True):
        if weight:
            total = total + weight * slope
    return total


def _size(x: Tensor) -> Tensor:
    """Return the root mean square of a row, (rows, 1)."""
    return x.square().mean(-1, keepdim=True).sqrt()
