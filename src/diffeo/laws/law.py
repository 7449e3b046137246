"""What a law is: v = g(u; θ), pure, elementwise, strictly increasing in u."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from diffeo.kernels.native import Compiled


def spread(count: int, reach: float) -> tuple[float, ...]:
    """Return ``count`` numbers that divide [−reach, reach] evenly; 0 if it is one.

    >>> spread(3, 0.5)
    (-0.5, 0.0, 0.5)
    """
    return tuple(reach * (2 * k / (count - 1) - 1) for k in range(count)) if count > 1 else (0.0,)


class Law(ABC):
    """An elementwise, strictly increasing map v = g(u; θ) (NICE's *coupling law*).

    A law is a frozen dataclass: its fields are its configuration, and it holds no tensors. The parameters
    θ come from outside, ``n_params`` for each element of u. Three promises, all tested by
    :mod:`diffeo.testing`:

    * θ = 0 is the identity map, exactly: g(u; 0) = u and log ∂v/∂u = 0 (but for
      :class:`~diffeo.laws.Tails`, which is no identity at any θ);
    * ``inverse`` is the inverse of ``forward`` for every θ, with the negative log-slope;
    * the slope ∂v/∂u lies within :meth:`slope_bounds` for every u and θ.

    Shapes: ``u`` and ``v`` any shape; ``theta`` is ``u.shape + (n_params,)``; the log-slope has
    the shape of ``u``, in nats.
    """

    @property
    @abstractmethod
    def n_params(self) -> int:
        """Parameters per element."""

    @property
    def breadth(self) -> int:
        """Numbers that the widest array of the formula has for an element: θ's, unless it makes more."""
        return self.n_params

    @property
    def period(self) -> float | None:
        """The length of the circle that the law is a map of, or None for the line."""
        return None

    @property
    def start(self) -> tuple[float, ...] | None:
        """Return the θ that an untrained layer begins with; None for zeros, the identity.

        A law that adds up like components says where they begin: alike at zero, all would have the same
        gradient, and stay one component for ever.
        """
        return None

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a subclass of a law be one that the kernels do not know, unless it says that they do."""
        super().__init_subclass__(**options)
        if "compiled" not in cls.__dict__:
            cls.compiled = Law.compiled

    def compiled(self) -> Compiled | None:
        """Return how the law is called in the compiled kernels, or None for one that they do not know.

        A subclass of a law that they know is another law, and has a ``compiled`` of its own or none.
        What they compute is what ``forward`` and ``inverse`` say, to rounding: these are the reference.
        """
        return None

    @abstractmethod
    def forward(self, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return v = g(u; θ) and log ∂v/∂u."""

    @abstractmethod
    def inverse(self, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return u = g⁻¹(v; θ) and log ∂u/∂v."""

    @abstractmethod
    def slope_bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest slope ∂v/∂u over all u and θ."""
