"""The residual multilayer perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import (
    Conditioner,
    Linear,
    activation_of,
    on_circle,
    with_context,
    zero_linear,
)
from diffeo.errors import at_least, number
from diffeo.registry import register


class ResidualBlock(nn.Module):
    """h + W₂ σ(W₁ σ(h)): the pre-activation block of He et al. (2016)."""

    def __init__(self, width: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            activation_of(activation),
            Linear(width, width),
            activation_of(activation),
            nn.Dropout(dropout),
            Linear(width, width),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return h and what the block adds."""
        return h + self.inner(h)


@register("conditioners.ResidualMLP")
class ResidualMLP(Conditioner):
    """θ = W_out σ(h_B), h_b = h_{b−1} + W₂ σ(W₁ σ(h_{b−1})), h₀ = W_in [x₁, c]; W_out starts at zero.

    Source: the residual network of Durkan, Bekasov, Murray & Papamakarios, *Neural spline flows* (2019),
    without batch normalisation.

    Args:
        in_features: features of x₁; with 0 and no context, θ is a free parameter.
        out_features: features that the law moves.
        n_params: parameters per moved feature (the law's ``n_params``).
        width: hidden units.
        blocks: residual blocks.
        activation: as for :class:`MLP`.
        context: features of the context.
        dropout: probability of dropping a unit inside a block in training.
        period: the length of the circle that the features lie on, as 2π for angles: the network then sees
            [cos(2π x / period), sin(2π x / period)], so that θ is continuous where the circle closes.

    >>> ResidualMLP(2, 3, n_params=2, width=16)(torch.zeros(5, 2)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        n_params: int,
        *,
        width: int = 64,
        blocks: int = 2,
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
        at_least("width", width, 1)
        at_least("blocks", blocks, 0)
        if in_features + context == 0 or out_features == 0:
            self.layers = None
            self.free = nn.Parameter(torch.zeros(out_features * n_params))
            return
        self.layers = nn.Sequential(
            Linear(in_features * (1 if period is None else 2) + context, width),
            *(ResidualBlock(width, activation, dropout) for _ in range(blocks)),
            activation_of(activation),
            zero_linear(width, out_features * n_params),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (out_features, n_params)``."""
        if self.layers is None:
            flat = self.free.expand(*x.shape[:-1], -1)
        else:
            flat = self.layers(with_context(on_circle(x, self.period), context, self.context))
        return flat.unflatten(-1, (self.out_features, self.n_params))
