"""What a bijection is: x = f(z), differentiable, invertible, with its log-determinant."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from diffeo.bijections.pattern import Pattern
from diffeo.bijections.replay import Replay, Reversal, whole
from diffeo.registry import Part


class Bijection(Part, nn.Module):
    """A map x = f(z) with a differentiable inverse and a cheap Jacobian determinant.

    ``forward`` goes from noise to data (z → x), ``inverse`` from data to noise (x → z). Each returns
    the value and the log-determinant *of the direction taken*, from one pass, and stores nothing on the
    module.

    Shapes: values are ``batch + event`` with ``event_ndim`` event dimensions (1 for vectors, 3 for images
    C×H×W); the log-determinant has the batch shape, in nats. ``context`` is ``batch + (features,)`` and
    broadcasts against the batch; a bijection that needs none ignores it.
    """

    event_ndim: int = 1

    #: Features of the context that this bijection itself reads (a conditioner states its own).
    context_features: int = 0

    #: The set that ``forward`` maps onto, or None for "the set it was given" (ℝᴰ for most).
    codomain: constraints.Constraint | None = None

    #: The lengths of the circles that the elements of z and of x lie on: a number and that number plus the
    #: length are then the same point. None for the line.
    circles: tuple[float | None, float | None] = (None, None)

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x = f(z) and log │det ∂x/∂z│."""
        raise NotImplementedError  # abstract

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z = f⁻¹(x) and log │det ∂z/∂x│."""
        raise NotImplementedError  # abstract

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Set what is read off the data (a mean, a scale) from training rows ``x``, once.

        A part that has been initialised, or was loaded, stays as it is. Returns the bijection.
        """
        return self

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return, per element of ``value``, the size of the numbers whose rounding this layer commits.

        :func:`diffeo.bijections.rounding.predicted_error` multiplies it by the machine epsilon; ``value``
        is what the layer made of ``given`` in the direction taken. The default, max(1, ‖value‖∞) of the
        row, holds for maps of standardised values; maps between units override it.
        """
        size = value.flatten(-self.event_ndim).abs().amax(-1).clamp(min=1.0)
        return size.reshape(size.shape + (1,) * self.event_ndim).expand_as(value)

    def breadth(self) -> int:
        """Return the numbers of the widest array that this map makes of a row, beside what its parts make.

        From it follows how many rows fit in memory (:mod:`diffeo.flows.parts`). 0, the default, is for maps
        that make no more than the event.
        """
        return 0

    def pattern(self, *, inverse: bool) -> Pattern | None:
        """Return where the Jacobian of a direction is exactly 0, or None where nothing is promised.

        :func:`diffeo.diagnostics.checks.jacobian_zeros` holds a layer to it.
        """
        return None

    def solving_error(self, value: Tensor, dtype: torch.dtype, *, inverse: bool) -> Tensor | float:
        """Return, per element of ``value``, the error that a solver computing in ``dtype`` may leave in it.

        It comes beside rounding, in units of the value. 0, the default, for maps that are formulas.
        """
        return 0.0

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return how the input of a direction is had again from its output (:data:`Reversal`).

        The default, "undone", is for maps with a formula both ways. ``Chain(memory="constant")`` asks.
        """
        return "undone"

    def replay(self, value: Tensor, context: Tensor | None, *, inverse: bool) -> Replay:
        """Recover a direction's input from its output, and run the direction on it with gradients.

        The input is recovered without gradients, by the other direction. A layer that computes something in
        both overrides this, to compute it once.
        """
        there, back = (self.inverse, self.forward) if inverse else (self.forward, self.inverse)
        with torch.no_grad():
            given, _ = back(value, context)
        with torch.enable_grad():
            leaf = given.detach().requires_grad_()
            again, log_det = there(leaf, context)
        return Replay((leaf,), again, log_det, whole)

    def as_transform(self, context: Tensor | None = None) -> Any:
        """Return this bijection as a ``torch.distributions.Transform``, with the context bound.

        >>> import torch
        >>> from diffeo.bijections import Scale
        >>> normal = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
        >>> moved = torch.distributions.TransformedDistribution(normal, Scale(2).as_transform())
        >>> moved.log_prob(torch.zeros(2)).item()
        -1.837...
        """
        from diffeo.bijections.transform import BijectionTransform

        return BijectionTransform(self, context)
