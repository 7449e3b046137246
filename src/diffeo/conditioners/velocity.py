"""The network of a continuous flow: a velocity v(t, x, c), and its divergence."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, hidden_sizes, zero_linear
from diffeo.errors import at_least, one_of
from diffeo.kernels.safe import CONDITIONER_LIMIT, conditioner_input
from diffeo.kernels.tiles import even_linear


def _tanh(a: Tensor) -> tuple[Tensor, Tensor]:
    h = torch.tanh(a)
    return h, 1 - h * h


def _softplus(a: Tensor) -> tuple[Tensor, Tensor]:
    return nn.functional.softplus(a), torch.sigmoid(a)


def _silu(a: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.sigmoid(a)
    return a * s, s * (1 + a * (1 - s))


#: Activations with their derivative: smooth ones, since a solver counts on the derivatives of v.
SMOOTH: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "tanh": _tanh,
    "softplus": _softplus,
    "silu": _silu,
}


class Velocity(nn.Module):
    """v(t, x, c) = L_K(σ(… σ(L₁(x)) …)), layers gated and shifted by time and context; v = 0 at first.

    L(h) = (W h + b) ⊙ 2 sigmoid(G [t, c] + g) + S [t, c] + s; G and S of all layers are one matrix. x is
    seen clamped to ±10⁶, beyond which v is constant. v and its divergence are plain tensor operations: all
    orders of derivatives exist.

    Source: Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud, *FFJORD* (2019): the layer "concatsquash" of
    their published code. There the gate has no factor 2, and halves a signal in each layer at first: what
    as many steps of matching learn of moons is then less than half as close.

    Args:
        features: D.
        hidden: width of each hidden layer.
        context: features of the context.
        activation: "tanh", "softplus" or "silu".

    >>> v = Velocity(2, hidden=(8,))
    >>> v(torch.zeros(5, 1), torch.ones(5, 2)).abs().max().item()
    0.0
    """

    def __init__(
        self, features: int, hidden: Sequence[int] = (64, 64), context: int = 0, activation: str = "tanh"
    ) -> None:
        super().__init__()
        at_least("features", features, 1)
        at_least("context", context, 0)
        one_of("activation", activation, SMOOTH)
        sizes = [features, *hidden_sizes(hidden)]
        self.activation, self.widths = activation, [*sizes[1:], features]
        self.layers = nn.ModuleList(Linear(*pair) for pair in itertools.pairwise(sizes))
        self.layers.append(zero_linear(sizes[-1], features))
        self.steering = Linear(1 + context, 2 * sum(self.widths))
        with torch.no_grad():  # v's own shift, the last rows
            self.steering.weight[-features:] = 0.0
            self.steering.bias[-features:] = 0.0

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return v: ``t`` is (rows, 1), ``x`` (rows, D), the context (rows, features)."""
        return self._passed(t, x, context, None)[0]

    def with_divergence(
        self, t: Tensor, x: Tensor, context: Tensor | None, directions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return v and Σₖ eₖᵀ (∂v/∂x) eₖ for ``directions`` e of shape (rows, n, D).

        With the D unit vectors it is the divergence, for D Jacobian-vector products; with one vector of
        independent signs it is Hutchinson's unbiased estimate of it, for one.
        """
        v, pushed = self._passed(t, x, context, directions)
        assert pushed is not None
        return v, (pushed * directions).sum(-1).sum(-1)

    def _passed(
        self, t: Tensor, x: Tensor, context: Tensor | None, directions: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        gates, shifts = self._steered(t if context is None else torch.cat([t, context], -1))
        h, pushed = conditioner_input(x), None
        if directions is not None:
            inside = (x.detach().abs() <= CONDITIONER_LIMIT).to(x.dtype)
            pushed = directions * inside.unsqueeze(-2)
        act = SMOOTH[self.activation]
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            if k:
                h, slope = act(h)
                pushed = None if pushed is None else pushed * slope.unsqueeze(-2)
            h = _affine(layer, h) * gates[k] + shifts[k]
            if pushed is not None:
                rows, n, width = pushed.shape
                moved = even_linear(pushed.reshape(rows * n, width), layer.weight)
                pushed = moved.reshape(rows, n, moved.shape[-1]) * gates[k].unsqueeze(-2)
        return h, pushed

    def _steered(self, given: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the gates and the shifts of all layers."""
        gates, shifts = _affine(self.steering, given).chunk(2, -1)
        return (2 * torch.sigmoid(gates)).split(self.widths, -1), shifts.split(self.widths, -1)


def _affine(layer: nn.Linear, x: Tensor) -> Tensor:
    # Even widths in training too: a solve is the same function in both modes.
    return even_linear(x, layer.weight, layer.bias)
