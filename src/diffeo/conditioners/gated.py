"""Flow++'s network: gated convolutions, and attention among all pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.attention import Attention, check_heads
from diffeo.conditioners.conditioner import Linear, widest
from diffeo.conditioners.convolutional import Conv, ImageConditioner, check_filters
from diffeo.conditioners.vision import placed
from diffeo.errors import at_least, number
from diffeo.registry import register


def _both(h: Tensor, dim: int) -> Tensor:
    """Return elu of [h, −h], which doubles the channels."""
    return nn.functional.elu(torch.cat([h, -h], dim))


def _pixels(h: Tensor) -> Tensor:
    """Return an image (rows, width, H, W) as tokens (rows, H·W, width)."""
    return h.flatten(-2).transpose(-2, -1)


class _Block(nn.Module):
    """h ← norm(h + gate(conv)), then h ← norm(h + gate(attention among pixels)); gate(a, b) = a σ(b)."""

    def __init__(self, width: int, kernel: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first = Conv(2 * width, width, kernel)
        self.gated = Conv(2 * width, 2 * width, 1)
        self.after_conv = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.told = Linear(width, 2 * width)
        self.after_attention = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, place: Tensor, mask: Tensor) -> Tensor:
        """Return the channels of the image h, (rows, width, H, W), a step further."""
        inner = self.dropout(_both(self.first(_both(h, 1)), 1))
        h = h + nn.functional.glu(self.gated(inner), 1)
        tokens = self.after_conv(_pixels(h))
        told = self.told(self.dropout(self.attention(tokens + place, mask)))
        tokens = self.after_attention(tokens + nn.functional.glu(told, -1))
        return tokens.transpose(-2, -1).unflatten(-1, h.shape[-2:])


@register("conditioners.GatedCNN")
class GatedCNN(ImageConditioner):
    """θ = w_out ∗ h_B, h₀ = w_in ∗ x + V c, of blocks of gated convolution and gated attention.

    In a block h ← norm(h + a σ(b)) with [a, b] = w₂ ∗ elu(±(w₁ ∗ elu(±h))), and then the same with [a, b] a
    linear map of what attention among all pixels, each with a place of its own, says. It sees the image
    with the moved elements zeroed, and returns parameters for every element. w_out starts at zero.

    Source: Ho, Chen, Srinivas, Duan & Abbeel, *Flow++* (2019), section 3.3.

    Args:
        shape: (C, H, W), of x and of θ.
        n_params: parameters per element (the law's ``n_params``).
        width: channels, a multiple of 4 · ``heads``.
        blocks: blocks of convolution and attention.
        kernel: height and width of a filter, odd.
        heads: heads of attention, which costs the square of the number of pixels.
        context: features of the context, which move the channels of h₀ alike at every pixel.
        dropout: probability of dropping a unit inside a block in training.

    Raises:
        ConfigError: an argument is out of range, or ``shape`` is no (C, H, W).

    >>> GatedCNN((3, 4, 4), n_params=2, width=16, blocks=1)(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5, 3, 4, 4, 2])
    """

    allowed: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        n_params: int,
        *,
        width: int = 96,
        blocks: int = 10,
        kernel: int = 3,
        heads: int = 4,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._of_shape(shape, n_params, context)
        at_least("blocks", blocks, 0)
        check_filters("width", width, [kernel])
        check_heads(width, heads)
        number("dropout", dropout, least=0, below=1)
        channels, pixels = shape[0], shape[1] * shape[2]
        self.heads = heads
        self.entry = Conv(channels, width, kernel)
        self.given = Linear(context, width, bias=False) if context else None
        self.place = placed(pixels, width) if blocks else None
        self.blocks = nn.ModuleList(_Block(width, kernel, heads, dropout) for _ in range(blocks))
        self.last = Conv(width, channels * n_params, kernel)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        allowed = nn.functional.pad(torch.ones(pixels, pixels, dtype=torch.bool), (0, -pixels % 4))
        self.register_buffer("allowed", allowed, persistent=False)

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the last convolution."""
        bias = self.last.bias
        return bias if isinstance(bias, nn.Parameter) else None

    def breadth(self) -> int:
        """Return the channels of the widest layer at every pixel, or the scores of all pairs of pixels."""
        assert self.event_shape is not None
        pixels = self.event_shape[1:].numel()
        return pixels * max(widest(self), self.heads * pixels if len(self.blocks) else 0)

    def body(self, h: Tensor) -> Tensor:
        """Return what the blocks make of h₀."""
        for block in self.blocks:
            h = block(h, self.place, self.allowed)
        return self.last(h)
