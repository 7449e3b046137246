"""Transformers over images whose channels are the pixels of a patch: a position is a token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.attention import Encoder
from diffeo.conditioners.conditioner import Conditioner, Linear, zero_linear
from diffeo.conditioners.convolutional import image_of
from diffeo.registry import register


def placed(tokens: int, width: int) -> nn.Parameter:
    """Return a vector for each place, small beside what a token carries."""
    return nn.Parameter(nn.init.normal_(torch.empty(tokens, width), std=width**-0.5))


@register("conditioners.VisionTransformer")
class VisionTransformer(Conditioner):
    """θ_t = W_out h_t + b of the tokens h of all positions t, which began at W x_t + p_t + V c.

    x_t are the channels at a position: of a :class:`~diffeo.bijections.Squeezed` image, a patch. All tokens
    look at all. It sees the image with the moved elements zeroed, and returns parameters for every element.
    W_out and b start at zero.

    Source: Dosovitskiy et al., *An image is worth 16 × 16 words* (2021), section 3.1; in couplings,
    Kolesnikov, Steiner Pinto & Tschannen, *Jet: A modern transformer-based normalizing flow* (2024).

    Args:
        shape: (C, H, W), of x and of θ.
        n_params: parameters per element (the law's ``n_params``).
        width: units of a token, a multiple of 4 · ``heads``.
        blocks: blocks of attention and perceptron.
        heads: heads of attention.
        activation: of the perceptrons, as for :class:`MLP`.
        context: features of the context.
        dropout: probability of dropping a unit of a block's output in training.

    Raises:
        ConfigError: an argument is out of range, or ``shape`` is no (C, H, W).

    >>> VisionTransformer((12, 2, 2), n_params=2, width=16)(torch.zeros(5, 12, 2, 2)).shape
    torch.Size([5, 12, 2, 2, 2])
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_params: int,
        *,
        width: int = 64,
        blocks: int = 2,
        heads: int = 4,
        activation: str = "gelu",
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.event_shape = image_of(shape)
        channels, tokens = self.event_shape[0], self.event_shape[1:].numel()
        self._sizes(self.event_shape.numel(), self.event_shape.numel(), n_params, context)
        rank = torch.zeros(tokens, dtype=torch.long)  # all look at all
        self.encoder = Encoder(rank, width, blocks, heads, activation, dropout)
        self.entry = Linear(channels, width)
        self.place = placed(tokens, width)
        self.given = Linear(context, width, bias=False) if context else None
        self.head = zero_linear(width, channels * n_params)

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the head."""
        return self.head.bias

    def breadth(self) -> int:
        """Return the units of all tokens in a perceptron, or what they have to say to one another."""
        assert self.event_shape is not None
        return self.encoder.breadth(self.event_shape[1:].numel())

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (C, H, W, n_params)``."""
        h = self.entry(x.flatten(-2).transpose(-2, -1)) + self.place
        if self.given is not None and context is not None:
            h = h + self.given(context).unsqueeze(-2)
        theta = self.head(self.encoder(h)).unflatten(-1, (x.shape[-3], self.n_params))
        return theta.movedim(-3, -2).unflatten(-2, x.shape[-2:])  # (…, C, H·W, n) to (…, C, H, W, n)
