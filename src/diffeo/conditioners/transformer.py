"""Transformers over features: a feature is a token."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from diffeo.conditioners.attention import Encoder
from diffeo.conditioners.causal_stages import CausalStages
from diffeo.conditioners.conditioner import Conditioner, Linear, zero_linear
from diffeo.conditioners.ordered import Order, OrderedConditioner
from diffeo.registry import register


def _drawn(tokens: int, width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(tokens, width)))


@register("conditioners.Transformer")
class Transformer(Conditioner):
    """θ_i = W h_i + b, with h the tokens of all features after a transformer's encoder; W, b start at zero.

    A passed feature enters as the token p_j + x_j w_j + V c, a moved one as the query p_i + V c, with
    vectors p and w of its own. In each block all tokens look at all, so θ_i sees every passed feature and
    the context. Width and depth do not grow with the number of features: attention costs its square.

    Source: Vaswani et al., *Attention is all you need* (2017), section 3; numbers as tokens, Gorishniy et
    al., *Revisiting deep learning models for tabular data* (2021), section 3.3, whose norms come first too.

    Args:
        in_features: features of x₁; with 0 and no context, θ is a free parameter.
        out_features: features that the law moves.
        n_params: parameters per moved feature (the law's ``n_params``).
        width: units of a token, a multiple of 4 · ``heads``.
        blocks: blocks of attention and perceptron.
        heads: heads of attention.
        activation: of the perceptrons, as for :class:`MLP`.
        context: features of the context.
        dropout: probability of dropping a unit of a block's output in training.

    Raises:
        ConfigError: an argument is out of range.

    >>> Transformer(2, 3, n_params=2, width=16)(torch.zeros(5, 2)).shape
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
        heads: int = 4,
        activation: str = "gelu",
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._sizes(in_features, out_features, n_params, context)
        tokens = in_features + out_features
        rank = torch.zeros(tokens, dtype=torch.long)  # all look at all
        encoder = Encoder(rank, width, blocks, heads, activation, dropout)
        self.free = None
        if in_features + context == 0 or out_features == 0:
            self.free = nn.Parameter(torch.zeros(out_features, n_params))
            return
        self.encoder = encoder
        self.place = _drawn(tokens, width)
        self.value = _drawn(in_features, width)
        self.given = Linear(context, width, bias=False) if context else None
        self.head = zero_linear(width, n_params)

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the head."""
        return self.head.bias if self.free is None else self.free

    def breadth(self) -> int:
        """Return the units of all tokens in a perceptron, or what they have to say to one another."""
        return 0 if self.free is not None else self.encoder.breadth(self.in_features + self.out_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (out_features, n_params)``."""
        if self.free is not None:
            return self.free.expand(*x.shape[:-1], -1, -1)
        values = x.unsqueeze(-1) * self.value
        h = nn.functional.pad(values, (0, 0, 0, self.out_features)) + self.place
        if self.given is not None and context is not None:
            h = h + self.given(context).unsqueeze(-2)
        return self.head(self.encoder(h)[..., self.in_features :, :])


@register("conditioners.CausalTransformer")
class CausalTransformer(OrderedConditioner):
    """θ_i = W h_i + b in which θ_i sees the features before i only: a transformer with a causal mask.

    The token of feature i is p_i + x_j w_i + V c, where j is the feature just before i (none for the
    first); it looks at itself and at the tokens of the features before i, and so sees exactly these.
    W and b start at zero.

    Source: Patacchiola, Shysheya, Hofmann & Turner, *Transformer neural autoregressive flows* (2024); the
    mask, Vaswani et al., *Attention is all you need* (2017), section 3.2.3. For images, Zhai et al.,
    *Normalizing flows are capable generative models* (2024), have patches as tokens.

    Args:
        features: D, of x and of θ; with 1 and no context, θ is a free parameter.
        n_params: parameters per feature (the law's ``n_params``).
        width, blocks, heads, activation: as for :class:`Transformer`.
        context: features of the context.
        order: "ascending", "descending", or the features from the first to the last.
        dropout: probability of dropping a unit of a block's output in training.

    Raises:
        ConfigError: an argument is out of range.

    >>> CausalTransformer(3, 2, width=16)(torch.zeros(5, 3)).shape
    torch.Size([5, 3, 2])
    """

    before: Tensor
    first: Tensor

    def __init__(
        self,
        features: int,
        n_params: int,
        *,
        width: int = 64,
        blocks: int = 2,
        heads: int = 4,
        activation: str = "gelu",
        context: int = 0,
        order: Order = "ascending",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self._order(features, n_params, context, order, None)
        rank = self.graph.sum(-1)
        encoder = Encoder(torch.as_tensor(rank), width, blocks, heads, activation, dropout)
        self.free = None
        if features == 1 and not context:
            self.free = nn.Parameter(torch.zeros(features, n_params))
            return
        self._drops = dropout > 0
        before = np.argsort(rank)[rank - 1]  # of the first, some other: its value is not used
        self.register_buffer("before", torch.as_tensor(before), persistent=False)
        self.register_buffer("first", torch.as_tensor(rank == 0), persistent=False)
        self.place = _drawn(features, width)
        self.value = _drawn(features, width)
        self.given = Linear(context, width, bias=False) if context else None
        self.encoder = encoder
        self.head = zero_linear(width, n_params)

    def outlet(self) -> nn.Parameter | None:
        """Return the bias of the head."""
        return self.head.bias if self.free is None else self.free

    def breadth(self) -> int:
        """Return the units of all tokens in a perceptron, or what they have to say to one another."""
        return 0 if self.free is not None else self.encoder.breadth(self.in_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return θ of shape ``batch + (D, n_params)``."""
        if self.free is not None:
            return self.free.expand(*x.shape[:-1], -1, -1)
        carried = torch.where(self.first, 0.0, x.index_select(-1, self.before))
        h = carried.unsqueeze(-1) * self.value + self.place
        if self.given is not None and context is not None:
            h = h + self.given(context).unsqueeze(-2)
        return self.head(self.encoder(h))

    def stages(self) -> CausalStages | None:
        """Return θ feature by feature, each token computed once; None where units are dropped."""
        if self.free is not None or (self.training and self._drops):
            return None
        line = [feature for level in self.levels for feature in level]
        return CausalStages(line, self.place, self.value, self.given, self.encoder, self.head)
