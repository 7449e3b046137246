"""The normal base that the context moves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.conditioners import MLP
from diffeo.distributions.base import Base
from diffeo.distributions.normal import log_normal
from diffeo.errors import at_least, number
from diffeo.kernels.affine import scale_shift, unscale_unshift
from diffeo.kernels.safe import bounded, sum_event
from diffeo.kernels.shapes import check_broadcast, check_context, safe_context
from diffeo.kernels.tiles import in_tiles
from diffeo.registry import register


@register("distributions.ConditionalNormal")
class ConditionalNormal(Base):
    """π(z | c) = ∏ᵢ N(zᵢ; μᵢ(c), σᵢ(c)²), μ and log σ from a perceptron of the context c.

    It starts at the standard normal for every c. |log σ| is smoothly bounded. The network runs once for a
    row of context, however many z stand beside it.

    Source: Winkler, Worrall, Hoogeboom & Welling, *Learning likelihoods with conditional normalizing
    flows* (2019), section 3.

    Args:
        features: the number of features, or an event shape.
        context: features of the context, at least 1.
        hidden: hidden widths of the perceptron.
        activation: its activation.
        bound: the largest |log σ|, smoothly approached, as in :class:`diffeo.laws.Affine`.

    Raises:
        ShapeError: the context is missing, or does not fit.

    >>> base = ConditionalNormal(3, context=2)
    >>> c = torch.ones(5, 2)
    >>> base.log_prob(base.sample((7, 5), c), c).shape
    torch.Size([7, 5])
    """

    def __init__(
        self,
        features: int | Sequence[int],
        context: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        bound: float = 2.0,
    ) -> None:
        super().__init__(features)
        at_least("context", context, 1)
        number("bound", bound, above=0, most=10)
        self.context_features, self.bound = context, float(bound)
        size = self.event_shape.numel()
        self.conditioner = MLP(0, size, 2, hidden=hidden, activation=activation, context=context)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return Σᵢ log N(zᵢ; μᵢ(c), σᵢ(c)²)."""
        loc, log_scale, mark = self._moments(context)
        check_broadcast(z.shape[: z.ndim - self.event_ndim], mark.shape)
        standard = unscale_unshift(z, log_scale, loc)
        return sum_event(log_normal(standard) - log_scale, self.event_ndim) + mark

    def sample(
        self,
        shape: Sequence[int] = (),
        context: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return μ(c) + σ(c) ε with ε standard normal."""
        loc, log_scale, mark = self._moments(context)
        check_broadcast(torch.Size(shape), mark.shape)
        noise = torch.randn(
            (*shape, *self.event_shape), generator=generator, dtype=self.dtype, device=self.device
        )
        return scale_shift(noise, log_scale, loc) + mark.reshape(mark.shape + (1,) * self.event_ndim)

    def _moments(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return μ and log σ, context batch + event, and NaN for each row of context that is not finite."""
        check_context(context, self.context_features)
        safe, mark = safe_context(context)
        assert safe is not None
        assert mark is not None
        nothing = safe.new_zeros(*safe.shape[:-1], 0)
        # In training torch's own product is taken, as in a coupling: padding is for evaluation.
        steer = self.conditioner if self.conditioner.training else self._in_tiles
        theta: Tensor = steer(nothing, safe).unflatten(-2, self.event_shape)
        return theta[..., 0], bounded(theta[..., 1], self.bound), mark

    def _in_tiles(self, nothing: Tensor, context: Tensor) -> Tensor:
        return in_tiles(self.conditioner, nothing, context)
