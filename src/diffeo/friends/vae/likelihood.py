"""p(x | z): what a decoder's numbers say of an event, element by element."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DECODERS = ("gaussian", "bernoulli", "categorical")
NOISES = ("shared", "columns", "local")


class Likelihood(nn.Module):
    """The density of an event given ``raw``, (…, D, each): ``each`` numbers for every element of it."""

    #: Numbers of an element.
    each: int = 1

    #: Whether events are counted (cells have masses) rather than measured.
    discrete: bool = True

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | z), summed over elements."""
        raise NotImplementedError  # abstract

    def mean(self, raw: Tensor) -> Tensor:
        """Return E[x | z]."""
        raise NotImplementedError  # abstract

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return draws x ~ p(· | z)."""
        raise NotImplementedError  # abstract


class GaussianLikelihood(Likelihood):
    """N(x; m(z), σ²) with σ = floor + softplus(r): learned, and never below ``floor``.

    r is one number for all elements ("shared"), one for each ("columns"), or given by the decoder too
    ("local").
    """

    discrete = False

    def __init__(self, size: int, noise: str, floor: float) -> None:
        super().__init__()
        self.floor, self.local = floor, noise == "local"
        self.each = 2 if self.local else 1
        # σ = 0.3 of standardised columns: with 1 the noise explains all of x at first, and z is never used.
        start = math.log(math.expm1(max(0.3 - floor, 0.01)))
        if not self.local:
            self.raw_scale = nn.Parameter(torch.full((1 if noise == "shared" else size,), start))

    def scale(self, raw: Tensor) -> Tensor:
        """Return σ."""
        return self.floor + F.softplus(raw[..., 1] if self.local else self.raw_scale)

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return log p(x | z), summed over elements."""
        scale = self.scale(raw)
        away = (x - raw[..., 0]) / scale
        return -(0.5 * away.square() + scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Return m(z)."""
        return raw[..., 0]

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return m(z) + σ ε."""
        noise = torch.randn(raw.shape[:-1], generator=generator).to(raw)
        return raw[..., 0] + self.scale(raw) * noise


class BernoulliLikelihood(Likelihood):
    """P(x = 1 | z) = 1 / (1 + e^(−r)) for cells that are 0 or 1."""

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return log P(x | z), summed over cells."""
        r = raw[..., 0]
        return -F.softplus(torch.where(x > 0.5, -r, r)).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Return P(x = 1 | z)."""
        return raw[..., 0].sigmoid()

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return cells, 0 or 1."""
        u = torch.rand(raw.shape[:-1], generator=generator).to(raw)
        return (u < self.mean(raw)).to(raw.dtype)


class CategoricalLikelihood(Likelihood):
    """P(x = j | z) = softmax(r)ⱼ for cells of whole numbers 0, …, k − 1."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.each = levels

    def log_prob(self, raw: Tensor, x: Tensor) -> Tensor:
        """Return log P(x | z), summed over cells."""
        chosen = x.long().expand(raw.shape[:-1]).unsqueeze(-1)
        return raw.log_softmax(-1).gather(-1, chosen).squeeze(-1).sum(-1)

    def mean(self, raw: Tensor) -> Tensor:
        """Return E[x | z], between levels."""
        return raw.softmax(-1) @ torch.arange(self.each).to(raw)

    def draw(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return cells, whole numbers."""
        u = torch.rand((*raw.shape[:-1], 1), generator=generator).to(raw)
        below = raw.softmax(-1).cumsum(-1)[..., :-1] <= u
        return below.sum(-1).to(raw.dtype)


def likelihood(decoder: str, size: int, noise: str, floor: float, levels: int | None) -> Likelihood:
    """Return the likelihood of this name."""
    if decoder == "gaussian":
        return GaussianLikelihood(size, noise, floor)
    if decoder == "bernoulli":
        return BernoulliLikelihood()
    return CategoricalLikelihood(levels or 2)
