"""A flow as a genuine torch.distributions.Distribution, for Pyro and others."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from diffeo.bijections.transform import support_of
from diffeo.errors import ShapeError
from diffeo.flows.flow import Flow


class FlowDistribution(Distribution):
    """p(x | c) of a flow; ``batch_shape`` is the context's batch shape.

    Values outside the support have log-density −inf whether or not ``validate_args`` is set; with it set,
    ``log_prob`` raises as every torch distribution does.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    has_rsample = True

    def __init__(
        self, flow: Flow, context: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        self.flow, self.context = flow, context
        batch = torch.Size() if context is None else context.shape[:-1]
        super().__init__(batch, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Return the set on which the density lives."""
        return support_of(self.flow.bijection)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """Return the same distribution with its batch shape expanded."""
        size = torch.Size(batch_shape)
        if self.context is None and size:
            raise ShapeError(
                f"batch_shape={tuple(size)} was asked of a flow without context, whose batch shape is "
                "(); expected that: sample with a shape instead, p.sample((…,))."
            )
        context = None if self.context is None else self.context.expand(*size, -1)
        return FlowDistribution(self.flow, context, validate_args=self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value | c)."""
        if self._validate_args:
            self._validate_sample(value)
        return self.flow.log_prob(value, self.context)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Return draws without gradients."""
        return self.flow.sample(torch.Size(sample_shape), self.context)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Return draws with gradients."""
        return self.flow.rsample(torch.Size(sample_shape), self.context)
