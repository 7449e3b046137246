"""A causal transformer token by token: keys and values of the tokens before are kept, not computed again.

A token asks those before it and itself, and none of them looks at a later one: so what a token was told in
each block stays as it is. Going from noise to data a token is computed once, and looks at what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.conditioners.attention import Attention, Encoder, EncoderBlock
from diffeo.conditioners.staged import Stages


class TokenStages(Stages):
    """What is told to one token after another.

    Args:
        tokens: how many there are.
        encoder, head: what makes θ of tokens.
        given: the map V of the context, if there is one.
    """

    def __init__(self, tokens: int, encoder: Encoder, head: nn.Module, given: nn.Module | None) -> None:
        self._given, self._head, self._norm = given, head, encoder.norm
        # As many tokens in a part as there are parts, about; a multiple of four.
        length = 4 * -int(-(tokens**0.5) // 4)
        self._encoders = [block for block in encoder.blocks if isinstance(block, EncoderBlock)]
        self._kept = [Kept(block.attention, length) for block in self._encoders]
        self._shift: Tensor | None = None
        self.time = 0

    def given(self, context: Tensor | None) -> None:
        """Let every token be moved by this context."""
        if self._given is not None and context is not None:
            self._shift = self._given(context)

    def asked(self, h: Tensor) -> Tensor:
        """Return the head's answer for the next token h, (rows, width)."""
        h = h if self._shift is None else h + self._shift
        for block, kept in zip(self._encoders, self._kept, strict=True):
            h = h + kept.told(block.before_attention(h))
            h = h + block.inner(h)
        self.time += 1
        return self._head(self._norm(h))


class CausalStages(TokenStages):
    """θ of one feature after another, of a :class:`~diffeo.conditioners.CausalTransformer`.

    Args:
        line: the features, from the first to the last.
        place, value: p and w, (D, width).
        given: the map V of the context, if there is one.
        encoder, head: what makes θ of tokens.
    """

    def __init__(
        self,
        line: Sequence[int],
        place: Tensor,
        value: Tensor,
        given: nn.Module | None,
        encoder: Encoder,
        head: nn.Module,
    ) -> None:
        super().__init__(len(line), encoder, head, given)
        order = torch.tensor(line, device=place.device)
        self._place, self._value = place.index_select(0, order), value.index_select(0, order)

    def begin(self, like: Tensor, context: Tensor | None) -> Tensor:
        """Return θ of the first feature, (rows, 1, n_params): its token carries no value."""
        self.given(context)
        return self.asked(self._place[0].expand(like.shape[0], -1)).unsqueeze(-2)

    def step(self, values: Tensor) -> Tensor:
        """Return θ of the next feature, (rows, 1, n_params)."""
        token = values * self._value[self.time] + self._place[self.time]
        return self.asked(token).unsqueeze(-2)


class Kept:
    """Keys and values of the tokens so far, in parts of ``length`` tokens, and those that came since.

    A part, once full, is never copied again. Numbers of keys are multiples of four, as in ``Attention``.
    """

    def __init__(self, attention: Attention, length: int) -> None:
        self._attention, self._length = attention, length
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._since: list[tuple[Tensor, Tensor]] = []

    def told(self, h: Tensor) -> Tensor:
        """Return what a token h, (rows, width), is told by those before it and by itself."""
        query, key, value = self._attention.ask(h).unflatten(-1, (3, self._attention.heads, -1)).unbind(-3)
        self._since.append((key, value))
        recent = self._recent()
        parts = [*self._parts, recent]
        query = query.unsqueeze(-2) * query.shape[-1] ** -0.5  # (rows, heads, 1, d)
        scores = [query @ keys.transpose(-2, -1) for keys, _ in parts]
        count = len(self._since)
        last = scores[-1][..., :count]
        scores[-1] = nn.functional.pad(last, (0, recent[0].shape[-2] - count), value=-torch.inf)
        weights = torch.cat(scores, -1).softmax(-1).split([keys.shape[-2] for keys, _ in parts], -1)
        told = weights[0] @ parts[0][1]
        for weight, (_, values) in zip(weights[1:], parts[1:], strict=True):
            told = told + weight @ values
        if count == self._length:
            self._parts.append(recent)
            self._since = []
        return self._attention.tell(told.squeeze(-2).flatten(-2))

    def _recent(self) -> tuple[Tensor, Tensor]:
        """Return keys and values since the last full part, (rows, heads, tokens, d), and zeros."""
        more = (0, 0, 0, -len(self._since) % 4)
        keys, values = (torch.stack(those, -2) for those in zip(*self._since, strict=True))
        return nn.functional.pad(keys, more), nn.functional.pad(values, more)
