"""A causal transformer over patches: the parameters of a patch depend on the patches before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.conditioners.attention import Encoder
from diffeo.conditioners.causal_stages import TokenStages
from diffeo.conditioners.conditioner import Linear, zero_linear
from diffeo.conditioners.convolutional import image_of
from diffeo.conditioners.ordered import Graph, OrderedConditioner
from diffeo.conditioners.vision import placed
from diffeo.errors import one_of
from diffeo.registry import register


@register("conditioners.PatchTransformer")
class PatchTransformer(OrderedConditioner):
    """θ_t = W_out h_t + b in which θ_t sees the patches before t only: a transformer with a causal mask.

    It reads an image (C, H, W) written as a vector, whose channels at a position t are a patch x_t. The
    token of t is W x_s + p_t + V c, where s is the position just before t (none for the first). It looks at
    itself and at the tokens before. W_out and b start at zero.

    Source: Zhai et al., *Normalizing flows are capable generative models* (2024).

    Args:
        shape: (C, H, W) of the image that x is, flattened.
        n_params: parameters per element (the law's ``n_params``).
        width: units of a token, a multiple of 4 · ``heads``.
        blocks: blocks of attention and perceptron.
        heads: heads of attention.
        activation: of the perceptrons, as for :class:`MLP`.
        context: features of the context.
        order: "ascending", row by row from the first position, or "descending".
        dropout: probability of dropping a unit of a block's output in training.

    Raises:
        ConfigError: an argument is out of range, or ``shape`` is no (C, H, W).

    >>> PatchTransformer((4, 2, 2), 2, width=16)(torch.zeros(5, 16)).shape
    torch.Size([5, 16, 2])
    """

    before: Tensor
    first: Tensor

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
        order: str = "ascending",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = image_of(shape)
        count = sizes.numel()
        self._sizes(count, count, n_params, context)
        one_of("order", order, ("ascending", "descending"))
        self.channels, self.tokens = sizes[0], sizes[1:].numel()
        self.order = order
        line = np.arange(self.tokens)[:: 1 if order == "ascending" else -1]
        self.levels = (line[:, None] + self.tokens * np.arange(self.channels)).tolist()
        rank = torch.as_tensor(np.argsort(line))
        self.encoder = Encoder(rank, width, blocks, heads, activation, dropout)
        self._drops = dropout > 0
        step = 1 if order == "ascending" else -1
        self.register_buffer("before", (torch.arange(self.tokens) - step) % self.tokens, persistent=False)
        self.register_buffer("first", rank == 0, persistent=False)
        self.entry = Linear(self.channels, width, bias=False)
        self.place = placed(self.tokens, width)
        self.given = Linear(context, width, bias=False) if context else None
        self.head = zero_linear(width, self.channels * n_params)

    @property
    def graph(self) -> Graph:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return which element depends on which: D² booleans, made when they are asked for."""
        rank = np.argsort([level[0] for level in self.levels])
        earlier = rank[:, None] > rank
        return np.tile(earlier, (self.channels, self.channels))

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the head."""
        return self.head.bias

    def breadth(self) -> int:
        """Return the units of all tokens in a perceptron, or what they have to say to one another."""
        return self.encoder.breadth(self.tokens)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (D, n_params)``."""
        patches = x.unflatten(-1, (self.channels, self.tokens)).transpose(-2, -1)
        carried = torch.where(self.first.unsqueeze(-1), 0.0, patches.index_select(-2, self.before))
        h = self.entry(carried) + self.place
        if self.given is not None and context is not None:
            h = h + self.given(context).unsqueeze(-2)
        theta = self.head(self.encoder(h)).unflatten(-1, (self.channels, self.n_params))
        return theta.transpose(-3, -2).flatten(-3, -2)

    def stages(self) -> PatchStages | None:
        """Return θ patch by patch, each token computed once; None where units are dropped."""
        return None if self.training and self._drops else PatchStages(self)


class PatchStages(TokenStages):
    """θ of one patch after another."""

    def __init__(self, of: PatchTransformer) -> None:
        super().__init__(of.tokens, of.encoder, of.head, of.given)
        line = torch.tensor([level[0] for level in of.levels], device=of.place.device)
        self._place, self._entry = of.place.index_select(0, line), of.entry
        self._sizes = of.channels, of.n_params

    def begin(self, like: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the first patch, (rows, C, n_params): its token carries no value."""
        self.given(context)
        return self._theta(self._place[0].expand(like.shape[0], -1))

    def step(self, values: Tensor) -> Tensor:
        """Return θ of the next patch, (rows, C, n_params)."""
        return self._theta(self._entry(values) + self._place[self.time])

    def _theta(self, h: Tensor) -> Tensor:
        return self.asked(h).unflatten(-1, self._sizes)
