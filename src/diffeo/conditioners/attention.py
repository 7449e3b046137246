"""The encoder of a transformer: tokens that look at one another, then think for themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffeo.conditioners.conditioner import Linear, activation_of, widest
from diffeo.errors import ConfigError, at_least, number


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V in each of several heads, with −∞ where a token may not look.

    What the mask forbids has weight exactly 0, in value and in gradient. A head has a multiple of four
    units, and there are keys of zeros up to a multiple of four, which nobody may look at: so every row's
    matrices begin alike in vector registers, and are summed alike (:mod:`diffeo.kernels.tiles`).

    Source: Vaswani et al., *Attention is all you need* (2017), section 3.2, equation 1.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask = Linear(width, 3 * width)
        self.tell = Linear(width, width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """Return what each of the tokens h, ``batch + (tokens, width)``, is told."""
        parts = self.ask(h).unflatten(-1, (3, self.heads, -1)).transpose(-4, -2)  # (…, heads, 3, tokens, d)
        query, key, value = parts.unbind(-3)
        more = (0, 0, 0, mask.shape[-1] - h.shape[-2])
        key, value = nn.functional.pad(key, more), nn.functional.pad(value, more)
        score = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        told = torch.where(mask, score, -torch.inf).softmax(-1) @ value
        return self.tell(told.transpose(-3, -2).flatten(-2))


def check_heads(width: int, heads: int) -> None:
    """Raise :class:`ConfigError` unless ``width`` units can be divided among ``heads``."""
    at_least("width", width, 1)
    at_least("heads", heads, 1)
    if width % (4 * heads):
        raise ConfigError(
            f"width={width} must be a multiple of {4 * heads}, four times heads={heads}: each head has "
            "a multiple of four units."
        )


class EncoderBlock(nn.Module):
    """h ← h + attention(norm h), then h ← h + W₂ σ(W₁ norm h): norms come before, as in GPT-2."""

    def __init__(self, width: int, heads: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.inner = nn.Sequential(
            nn.LayerNorm(width),
            Linear(width, 4 * width),
            activation_of(activation),
            Linear(4 * width, width),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """Return the tokens, a step further."""
        h = h + self.dropout(self.attention(self.before_attention(h), mask))
        return h + self.dropout(self.inner(h))


class Encoder(nn.Module):
    """Blocks, and a last norm: tokens of shape ``batch + (tokens, width)`` to as many.

    Args:
        rank: (tokens,) whole numbers: a token may look at those of its rank and below.
        width, blocks, heads, activation, dropout: as for :class:`~diffeo.conditioners.Transformer`.
    """

    rank: Tensor

    def __init__(
        self, rank: Tensor, width: int, blocks: int, heads: int, activation: str, dropout: float
    ) -> None:
        super().__init__()
        at_least("blocks", blocks, 1)
        check_heads(width, heads)
        number("dropout", dropout, least=0, below=1)
        self.heads = heads
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, activation, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("rank", rank, persistent=False)

    def breadth(self, tokens: int) -> int:
        """Return the numbers of the widest array: hidden units of all tokens, or scores of all pairs."""
        return tokens * max(widest(self), self.heads * tokens)

    def forward(self, h: Tensor) -> Tensor:
        """Return the tokens, after all blocks."""
        mask = nn.functional.pad(self.rank[:, None] >= self.rank, (0, -self.rank.shape[0] % 4))
        for block in self.blocks:
            h = block(h, mask)
        return self.norm(h)
