"""Powers of both signs: the transformation of Yeo and Johnson."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.pointwise import Curve, Pointwise
from diffeo.distributions.base import event_shape_of
from diffeo.errors import number
from diffeo.kernels.safe import bounded, split_safe
from diffeo.kernels.shapes import check_event
from diffeo.kernels.snap import snap
from diffeo.registry import register


@register("bijections.Power")
class Power(Pointwise):
    """x = ((1 + z)^λ − 1) / λ where z ≥ 0, and −((1 − z)^(2−λ) − 1) / (2 − λ) below: skewness.

    With p = λ for z ≥ 0 and 2 − λ for z < 0: log ∂x/∂z = (p − 1) log(1 + │z│). It is onto ℝ and twice
    continuously differentiable, with no slope of 0 or ∞ at 0, where sign(z) │z│^λ has one. λ > 1 stretches
    to the right and shortens the left; ``Inverse(Power(…))`` is the transformation the other way round.

    Source: Yeo & Johnson, *A new family of power transformations to improve normality or symmetry* (2000),
    equation 2.1.

    Args:
        features: the number of features, or an event shape; each element has its λ.
        exponent: λ; None to learn it, from λ = 1, the identity.
        bound: the largest │λ − 1│ that is learned, at most ½: λ = 1 + bound · tanh(raw / bound).

    Raises:
        ConfigError: an argument is out of range.
        ShapeError: a value does not end in the event shape.

    >>> Power(1, exponent=1.5)(torch.tensor([3.0]))
    (tensor([4.6667]), tensor(0.6931))
    """

    def __init__(
        self, features: int | Sequence[int], exponent: float | None = None, bound: float = 0.5
    ) -> None:
        super().__init__()
        number("exponent", exponent, least=0.5, most=1.5, optional=True)
        number("bound", bound, above=0, most=0.5)
        self.exponent, self.bound = exponent, bound
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)
        if exponent is None:
            self.raw_exponent = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x and Σ (p − 1) log(1 + │z│)."""
        check_event("z", z, self.event_shape)
        return super().forward(z, context)

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z and Σ (1/p − 1) log(1 + p │x│)."""
        check_event("x", x, self.event_shape)
        return super().inverse(x, context)

    def excess(self, like: Tensor) -> Tensor:
        """Return λ − 1 of each element of rows ``like``, (n, elements)."""
        if self.exponent is not None:
            return torch.full_like(like, self.exponent - 1)
        return bounded(self.raw_exponent, self.bound).flatten().expand_as(like)

    def curve(self, z: Tensor) -> Curve:
        """Return the power and its log-slope."""
        return self._split(_power, z)

    def curve_back(self, x: Tensor) -> Curve:
        """Return the root and its log-slope."""
        return self._split(_root, x)

    def _split(self, formula: Callable[[Tensor, Tensor], Curve], value: Tensor) -> Curve:
        """Return the formula's answer, far values without derivatives."""
        excess = self.excess(value)
        ok, inner = split_safe(value)
        near = snap(inner, excess.unsqueeze(-1), *formula(inner, excess))
        fixed, excess = value.detach(), excess.detach()
        far, _ = formula(fixed, excess)
        # The log-slope of a large number stands for that of ∞: no base's −∞ is cancelled by it.
        large = torch.finfo(value.dtype).max / 2
        _, log_slope = formula(fixed.clamp(-large, large), excess)
        return torch.where(ok, near[0], far), torch.where(ok, near[1], log_slope)


def _power(z: Tensor, excess: Tensor) -> Curve:
    sign, size, p = _sides(z, excess)
    log_size = torch.log1p(size)
    return sign * torch.expm1(p * log_size) / p, (p - 1) * log_size


def _root(x: Tensor, excess: Tensor) -> Curve:
    sign, size, p = _sides(x, excess)
    log_size = torch.log1p(p * size)
    return sign * torch.expm1(log_size / p), (1 / p - 1) * log_size


def _sides(value: Tensor, excess: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sign, the size, each with a derivative at 0, and the exponent of that side."""
    below = value < 0
    sign = torch.where(below, -1.0, torch.ones_like(value))
    return sign, torch.where(below, -value, value), 1 + torch.where(below, -excess, excess)
