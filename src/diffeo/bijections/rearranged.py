"""A bijection within a rearrangement of the elements: x = R⁻¹ f(R z).

R moves numbers about and changes none, so that log │det ∂x/∂z│ is f's. What is around has events of one
shape, what is inside of another: so layers of squeezed images, or of vectors, stand in a chain of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from diffeo.bijections.bijection import Bijection
from diffeo.bijections.pattern import Pattern
from diffeo.bijections.replay import Reversal
from diffeo.bijections.squeeze import Squeeze
from diffeo.distributions.base import event_shape_of
from diffeo.errors import ConfigError, a_part
from diffeo.kernels.shapes import check_event
from diffeo.registry import register


class Rearranged(Bijection):
    """What :class:`Squeezed` and :class:`Flattened` share; ``inner_shape`` is that of f's events."""

    bijection: Bijection
    inner_shape: torch.Size

    def rearranged(self, value: Tensor) -> Tensor:
        """Return R of ``value``, of f's event shape."""
        raise NotImplementedError  # abstract

    def restored(self, value: Tensor) -> Tensor:
        """Return R⁻¹ of ``value``, of this event shape."""
        raise NotImplementedError  # abstract

    def around(self, bijection: Bijection) -> Self:
        """Return the same rearrangement around another bijection of the same events."""
        raise NotImplementedError  # abstract

    def _around(self, bijection: Bijection, shape: torch.Size, inner_shape: torch.Size) -> None:
        a_part("bijection", bijection, Bijection, "Scale(2)")
        found = getattr(bijection, "event_shape", inner_shape)
        if bijection.event_ndim != len(inner_shape) or found != inner_shape:
            raise ConfigError(
                f"bijection has events of {bijection.event_ndim} dimension(s), of shape {tuple(found)}; "
                f"expected {tuple(inner_shape)}, which shape={tuple(shape)} becomes: build it so."
            )
        self.bijection, self.inner_shape = bijection, inner_shape
        self.event_shape, self.event_ndim = shape, len(shape)
        self.codomain, self.circles = bijection.codomain, bijection.circles

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return R⁻¹ f(R z) and f's log-determinant."""
        check_event("z", z, self.event_shape)
        value, log_det = self.bijection(self.rearranged(z), context)
        return self.restored(value), log_det

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return R⁻¹ f⁻¹(R x) and the log-determinant of f⁻¹."""
        check_event("x", x, self.event_shape)
        value, log_det = self.bijection.inverse(self.rearranged(x), context)
        return self.restored(value), log_det

    def initialise(self, x: Tensor, context: Tensor | None = None) -> Self:
        """Initialise the bijection on the rearranged rows."""
        check_event("x", x, self.event_shape)
        self.bijection.initialise(self.rearranged(x), context)
        return self

    def rounding_scale(self, given: Tensor, value: Tensor, *, inverse: bool) -> Tensor:
        """Return the bijection's."""
        inner = self.rearranged(given), self.rearranged(value)
        return self.restored(self.bijection.rounding_scale(*inner, inverse=inverse))

    def pattern(self, *, inverse: bool) -> Pattern | None:
        """Return the bijection's, of elements where they are here."""
        inner = self.bijection.pattern(inverse=inverse)
        if inner is None:
            return None
        places = torch.arange(self.event_shape.numel()).reshape(self.inner_shape)
        place = self.restored(places).flatten().numpy()
        return Pattern(inner.may[place][:, place], inner.kept[place])

    def solving_error(self, value: Tensor, dtype: torch.dtype, *, inverse: bool) -> Tensor | float:
        """Return the bijection's."""
        return self.bijection.solving_error(self.rearranged(value), dtype, inverse=inverse)

    def reversal(self, *, inverse: bool) -> Reversal:
        """Return the bijection's."""
        return self.bijection.reversal(inverse=inverse)


@register("bijections.Squeezed")
class Squeezed(Rearranged):
    """x = R⁻¹ f(R z) where R makes channels of squares: f works on images (F²C, H/F, W/F).

    R is the :class:`Squeeze` by the factor F. With the multi-scale architecture in mind, f holds the layers
    of a scale and, in a :class:`Split`, those of the next; with that of a transformer, its channels are the
    pixels of a patch.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), section 3.6.

    Args:
        shape: (C, H, W).
        bijection: f, of events (F²C, H/F, W/F).
        factor: F; it divides H and W.

    Raises:
        ConfigError: ``shape`` is no (C, H, W), ``factor`` does not divide it, or f has other events.
        ShapeError: a value does not end in ``shape``.

    >>> from diffeo.bijections import Affine
    >>> layer = Squeezed((1, 4, 4), Affine((4, 2, 2)))
    >>> x, log_det = layer(torch.ones(3, 1, 4, 4))
    >>> x.shape, log_det.shape
    (torch.Size([3, 1, 4, 4]), torch.Size([3]))
    """

    def __init__(self, shape: Sequence[int], bijection: Bijection, factor: int = 2) -> None:
        super().__init__()
        self.squeeze = Squeeze(shape, factor)
        self._around(bijection, self.squeeze.data_shape, self.squeeze.noise_shape)
        self.factor = factor

    def around(self, bijection: Bijection) -> Self:
        """Return the same around another bijection."""
        return type(self)(self.event_shape, bijection, self.factor)

    def rearranged(self, value: Tensor) -> Tensor:
        """Return the squares as channels."""
        return self.squeeze.inverse(value)[0]

    def restored(self, value: Tensor) -> Tensor:
        """Return the channels as squares."""
        return self.squeeze(value)[0]


@register("bijections.Flattened")
class Flattened(Rearranged):
    """x = R⁻¹ f(R z) where R writes an event as a vector, its last dimension running fastest.

    Args:
        shape: the shape of an event, as (C, H, W).
        bijection: f, of vectors of as many elements.

    Raises:
        ConfigError: ``shape`` is no shape, or f has no vectors of that many elements.
        ShapeError: a value does not end in ``shape``.

    >>> from diffeo.bijections import Scale
    >>> Flattened((1, 2, 2), Scale(4))(torch.ones(3, 1, 2, 2))[0].shape
    torch.Size([3, 1, 2, 2])
    """

    def __init__(self, shape: Sequence[int], bijection: Bijection) -> None:
        super().__init__()
        sizes = event_shape_of(shape)
        self._around(bijection, sizes, torch.Size([sizes.numel()]))

    def around(self, bijection: Bijection) -> Self:
        """Return the same around another bijection."""
        return type(self)(self.event_shape, bijection)

    def rearranged(self, value: Tensor) -> Tensor:
        """Return the vector."""
        return value.flatten(-self.event_ndim)

    def restored(self, value: Tensor) -> Tensor:
        """Return the event."""
        return value.unflatten(-1, self.event_shape)
