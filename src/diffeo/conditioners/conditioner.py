"""What a conditioner is: θ = m(x₁, c), any function at all."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from diffeo.errors import ConfigError, at_least, number, one_of
from diffeo.kernels.tiles import even_linear
from diffeo.registry import Part

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
}


class Conditioner(Part, nn.Module):
    """A network θ = m(x₁, c) that produces a law's parameters; it is never inverted.

    Shapes: ``x`` is ``batch + (in_features,)``, ``context`` is ``batch + (context,)``, and θ is
    ``batch + (out_features, n_params)``. One with an ``event_shape`` is given the whole event instead, the
    moved elements zeroed: ``x`` is ``batch + event_shape`` and θ ``batch + event_shape + (n_params,)``, of
    which those of the moved elements are used.

    Attributes:
        in_features: features of x₁ (0 is allowed: θ then depends on the context alone).
        out_features: features that the law moves.
        n_params: parameters per moved feature.
        context: features of the context; one with 0 ignores a context that it is given.
        event_shape: of the events that it is given whole; None where it sees x₁ alone, as a vector.
        period: the length of the circle that the elements of x₁ lie on, None for the line.
    """

    in_features: int
    out_features: int
    n_params: int
    context: int
    event_shape: torch.Size | None = None
    period: float | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ = m(x₁, c)."""
        raise NotImplementedError  # abstract: torch.nn.Module cannot be an ABC without a metaclass clash

    def outlet(self) -> nn.Parameter | None:
        """Return the last bias, which θ begins at: laid out as (…, n_params). None if there is none."""
        free, layers = getattr(self, "free", None), getattr(self, "layers", None)
        if isinstance(free, nn.Parameter):
            return free
        return getattr(layers[-1], "bias", None) if isinstance(layers, nn.Sequential) else None

    def breadth(self) -> int:
        """Return the units of the widest layer: from it follows how many rows fit in memory."""
        return widest(self)

    @torch.no_grad()
    def start_at(self, theta: tuple[float, ...] | None) -> None:
        """Let θ begin at ``theta``, for every moved element; a network that has been trained stays."""
        bias = self.outlet()
        if theta is None or bias is None or bias.numel() == 0 or (not bias.is_meta and bool(bias.any())):
            return
        start = torch.tensor(theta, dtype=bias.dtype, device=bias.device)
        bias.copy_(start.repeat(bias.numel() // self.n_params).reshape(bias.shape))

    def _sizes(self, in_features: int, out_features: int, n_params: int, context: int) -> None:
        at_least("in_features", in_features, 0)
        at_least("out_features", out_features, 0)
        at_least("n_params", n_params, 1)
        at_least("context", context, 0)
        self.in_features, self.out_features = in_features, out_features
        self.n_params, self.context = n_params, context

    def _lies_on(self, period: float | None) -> None:
        if period is not None:
            number("period", period, above=0)
        self.period = period


def widest(network: nn.Module) -> int:
    """Return the lines of the largest matrix among the parameters, 0 where there is none.

    >>> widest(nn.Sequential(nn.Linear(2, 30), nn.Linear(30, 5)))
    30
    """
    return max((parameter.shape[0] for parameter in network.parameters() if parameter.ndim > 1), default=0)


def activation_of(name: str) -> nn.Module:
    """Return the activation registered under ``name``."""
    one_of("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def hidden_sizes(hidden: object) -> list[int]:
    """Return the hidden widths as a list, or raise."""
    if not isinstance(hidden, list | tuple) or not all(
        isinstance(width, int) and not isinstance(width, bool) and width >= 1 for width in hidden
    ):
        raise ConfigError(f"hidden={hidden!r} must be a sequence of positive integers, as (64, 64).")
    return list(hidden)


class Linear(nn.Linear):
    """x Wᵀ + b; in evaluation, a row's result has the same bits whatever rows are beside it."""

    def forward(self, input: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        return super().forward(input) if self.training else even_linear(input, self.weight, self.bias)


def zero_linear(in_features: int, out_features: int) -> Linear:
    """Return a linear layer that starts at zero, so that the law it steers starts at the identity."""
    layer = Linear(in_features, out_features)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def on_circle(x: Tensor, period: float | None) -> Tensor:
    """Return [cos, sin] of the angles 2π x / period, the same for x and x + period; x itself for None."""
    if period is None:
        return x
    angle = x * (2 * math.pi / period)
    return torch.cat([angle.cos(), angle.sin()], -1)


def with_context(x: Tensor, context: Tensor | None, features: int) -> Tensor:
    """Return [x, context], with the batch dimensions already equal; x for a network that reads none."""
    return x if context is None or not features else torch.cat([x, context], -1)
