"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import (
    Conditioner,
    Linear,
    activation_of,
    hidden_sizes,
    on_circle,
    with_context,
    zero_linear,
)
from diffeo.errors import number
from diffeo.registry import register


@register("conditioners.MLP")
class MLP(Conditioner):
    """θ = W_L σ(… σ(W₁ [x₁, c] + b₁) …) + b_L, with W_L and b_L zero at the start.

    Args:
        in_features: features of x₁; with 0 and no context, θ is a free parameter.
        out_features: features that the law moves.
        n_params: parameters per moved feature (the law's ``n_params``).
        hidden: width of each hidden layer.
        activation: one of "silu", "relu", "tanh", "elu", "gelu", "leaky_relu".
        context: features of the context.
        dropout: probability of dropping a hidden unit in training.
        period: the length of the circle that the features lie on, as 2π for angles: the network then sees
            [cos(2π x / period), sin(2π x / period)], so that θ is continuous where the circle closes.

    >>> import torch
    >>> MLP(2, 3, n_params=2, hidden=(16,))(torch.zeros(5, 2)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_params: int,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "silu",
        context: int = 0,
        dropout: float = 0.0,
        period: float | None = None,
    ) -> None:
        super().__init__()
        self._sizes(in_features, out_features, n_params, context)
        self._lies_on(period)
        activation_of(activation)
        number("dropout", dropout, least=0, below=1)
        sizes, width = hidden_sizes(hidden), in_features * (1 if period is None else 2) + context
        if width == 0 or out_features == 0:
            self.layers = None
            self.free = nn.Parameter(torch.zeros(out_features * n_params))
            return
        layers: list[nn.Module] = []
        for size in sizes:
            layers += [Linear(width, size), activation_of(activation)]
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = size
        layers.append(zero_linear(width, out_features * n_params))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (out_features, n_params)``."""
        if self.layers is None:
            flat = self.free.expand(*x.shape[:-1], -1)
        else:
            flat = self.layers(with_context(on_circle(x, self.period), context, self.context))
        return flat.unflatten(-1, (self.out_features, self.n_params))
