"""Standardisation, as a bijection that is part of the flow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.statistics import finite_rows, location_and_scale
from diffeo.distributions.base import event_shape_of
from diffeo.errors import number, one_of
from diffeo.kernels.safe import sum_event
from diffeo.kernels.shapes import check_event
from diffeo.registry import register

#: "range" is this much wider than the training rows: rows to come may lie a little beyond them.
_MARGIN = 1.05


@register("bijections.Standardize")
class Standardize(Bijection):
    """x = z ⊙ scale + loc, with loc and scale read off training rows by :meth:`initialise`.

    As the last bijection of a chain it states the density in the data's own units: a column in
    kilometres instead of metres moves log p(x) by exactly log 1000.

    Args:
        features: the number of features, or an event shape.
        method: "robust" (median, IQR / 1.349: outliers do not count), "moments" (mean, standard
            deviation), or "range": the range of the training rows becomes [−bound, bound], less a margin of
            1 part in 21 on both sides for rows to come; values over ten robust scales from the median do
            not count. So a spline's box (:class:`~diffeo.laws.RationalQuadratic`) is fitted to the data.
            A constant column gets scale 1.
        bound: half the width of what "range" maps to; other methods have no use for it.

    >>> flow_part = Standardize(1).initialise(torch.tensor([[10.0], [20.0], [30.0]]))
    >>> flow_part.inverse(torch.tensor([[20.0]]))[0]
    tensor([[0.]])
    >>> box = Standardize(1, "range", bound=2.1).initialise(torch.tensor([[10.0], [15.0], [30.0]]))
    >>> box.inverse(torch.tensor([[10.0], [20.0], [30.0]]))[0].flatten()
    tensor([-2.,  0.,  2.])
    """

    def __init__(self, features: int | Sequence[int], method: str = "robust", bound: float = 3.0) -> None:
        super().__init__()
        one_of("method", method, ("robust", "moments", "range"))
        number("bound", bound, above=0)
        self.event_shape = event_shape_of(features)
        self.event_ndim = len(self.event_shape)
        self.method, self.bound = method, float(bound)
        self.register_buffer("loc", torch.zeros(self.event_shape))
        self.register_buffer("scale", torch.ones(self.event_shape))
        self.register_buffer("initialised", torch.tensor(False))

    @torch.no_grad()
    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set location and scale from the finite rows of ``x``, unless that was done before."""
        if bool(self.get_buffer("initialised")):
            return self
        rows = finite_rows(x, self.event_shape, "Standardize")
        loc, scale = location_and_scale(rows, self.method)
        if self.method == "range":
            scale = scale * (_MARGIN / self.bound)
        kept = self.get_buffer("scale")
        self.get_buffer("loc").copy_(loc.reshape(self.event_shape))
        kept.copy_(scale.reshape(self.event_shape)).clamp_(min=torch.finfo(kept.dtype).tiny)
        self.get_buffer("initialised").fill_(True)
        return self

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z ⊙ scale + loc and Σ log scale."""
        check_event("z", z, self.event_shape)
        log_det = sum_event(self.get_buffer("scale").log(), self.event_ndim)
        value = z * self.get_buffer("scale") + self.get_buffer("loc")
        return value, log_det.expand(z.shape[: z.ndim - self.event_ndim])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (x − loc) / scale and −Σ log scale."""
        check_event("x", x, self.event_shape)
        log_det = -sum_event(self.get_buffer("scale").log(), self.event_ndim)
        value = (x - self.get_buffer("loc")) / self.get_buffer("scale")
        return value, log_det.expand(x.shape[: x.ndim - self.event_ndim])

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return |x| + |loc|, in the units of the output."""
        if inverse:
            return (given.abs() + self.get_buffer("loc").abs()) / self.get_buffer("scale")
        return value.abs() + self.get_buffer("loc").abs()
