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
    """p(x | c) of a flow; ``batch_shape`` is the context's batch shape, or what it was expanded to.

    Values outside the support have log-density −inf whether or not ``validate_args`` is set; with it set,
    ``log_prob`` raises as every torch distribution does.

    >>> from diffeo.flows import NICE
    >>> p = NICE(2, hidden=(8,)).distribution().expand((4,))
    >>> p.sample((5,)).shape, p.log_prob(torch.zeros(2)).shape
    (torch.Size([5, 4, 2]), torch.Size([4]))
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    has_rsample = True

    def __init__(
        self,
        flow: Flow,
        context: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        batch_shape: Any = None,
    ) -> None:
        self.flow, self.context = flow, context
        batch = torch.Size() if context is None else context.shape[:-1]
        if batch_shape is not None:
            batch = _wider(batch, batch_shape)
        if context is not None:
            self.context = context.expand(*batch, -1)
        super().__init__(batch, flow.event_shape, validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Return the set on which the density lives."""
        return support_of(self.flow.bijection)

    def expand(self, batch_shape: Any, _instance: Any = None) -> FlowDistribution:
        """Return the same distribution with its batch shape expanded.

        Raises:
            ShapeError: the batch shape does not expand to ``batch_shape``.
        """
        wide = _wider(self.batch_shape, batch_shape)
        return FlowDistribution(self.flow, self.context, self._validate_args, batch_shape=wide)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value | c)."""
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.flow.log_prob(value, self.context)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Return draws without gradients."""
        return self.flow.sample(self._draws(sample_shape), self.context)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Return draws with gradients."""
        return self.flow.rsample(self._draws(sample_shape), self.context)

    def _draws(self, sample_shape: Any) -> torch.Size:
        """Return how many draws the flow is asked for; a context brings the batch shape itself."""
        shape = torch.Size(sample_shape)
        return shape if self.context is not None else shape + self.batch_shape


def _wider(batch: torch.Size, wanted: Any) -> torch.Size:
    """Return ``wanted`` if ``batch`` expands to it, or raise."""
    size = torch.Size(wanted)
    pairs = zip(reversed(batch), reversed(size), strict=False)
    if len(size) < len(batch) or any(one not in (1, other) for one, other in pairs):
        raise ShapeError(
            f"batch_shape={tuple(size)} was asked of a distribution of batch shape {tuple(batch)}; "
            "expected a shape that this one expands to: put sizes before it, or make a 1 any size."
        )
    return size
