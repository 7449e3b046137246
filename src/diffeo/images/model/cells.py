"""Dequantisation: a pixel of whole level x becomes x + u, u uniform on [0, 1).

A density p of x + u is a distribution P of whole levels, the mass of a cell, and bounds its logarithm:

    P(x) = ∫_[0,1)ᴰ p(x + u) du,    log P(x) ≥ E_u [log p(x + u)]

so that maximising the right-hand side cannot put spikes on whole numbers, which a density of x itself would
reward without bound. With K draws the bound is log (1/K) Σ_k p(x + u_k), which rises to log P(x).

Sources: Uria, Murray & Larochelle, *RNADE* (2013), section 5.1; Theis, van den Oord & Bethge, *A note on
the evaluation of generative models* (2016), section 3.1; with K draws, Burda, Grosse & Salakhutdinov,
*Importance weighted autoencoders* (2016), equation 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffeo.errors import flag, number
from diffeo.flows import Flow
from diffeo.images.noise import left_out
from diffeo.objectives import Batch, Objective

#: The least noise: a pixel on the edge of its cell may be on the edge of a logit.
_LEAST = 2.0**-25


def with_noise(cells: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return x + u with u uniform on (0, 1), each in its cell after rounding: ⌊x + u⌋ = x.

    >>> x = torch.full((1000,), 255.0)
    >>> bool((with_noise(x).floor() == x).all())
    True
    """
    noise = torch.rand(cells.shape, generator=generator, dtype=cells.dtype, device=cells.device)
    return within(cells, cells + noise.clamp(min=_LEAST))


def within(cells: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` inside of its cell [x, x + 1), with the gradient that it had."""
    fixed = value.detach()
    last = torch.nextafter(cells + 1, cells)
    kept = torch.minimum(torch.maximum(fixed, cells), last)
    return torch.where(kept == fixed, value, kept + (value - fixed))


@dataclass(frozen=True)
class Dequantised(Objective):
    """−mean log p(x + u) over a batch of images, with new noise u each time an image is seen.

    Of rows that have noise already, the whole part is taken.

    Args:
        flip: whether each image is mirrored left to right, with probability ½. The density is then of
            images and of mirrored ones.
        noise: σ of Gaussian noise that is added to x + u, in levels.
        drop: the probability that an image learns without its context.

    >>> from diffeo.distributions import StandardNormal
    >>> from diffeo.bijections import Identity
    >>> flow = Flow(StandardNormal((1, 1, 1)), Identity(event_ndim=3))
    >>> bool(Dequantised().loss(flow, Batch(torch.zeros(4, 1, 1, 1))) > 0.9189)  # −log φ(u), u in (0, 1)
    True
    """

    flip: bool = False
    noise: float = 0.0
    drop: float = 0.0

    unit: ClassVar[str] = "nats per image"
    first_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        flag("flip", self.flip)
        number("noise", self.noise, least=0)
        number("drop", self.drop, least=0, most=1)

    def loss(self, flow: Flow, batch: Batch) -> Tensor:
        """Return −mean log p(x + u + σ ε | context)."""
        cells = batch.x.floor()
        if self.flip:
            turned = torch.rand(len(cells), device=cells.device) < 0.5
            cells = torch.where(turned.reshape(-1, 1, 1, 1), cells.flip(-1), cells)
        pixels = with_noise(cells)
        if self.noise:
            pixels = pixels + self.noise * torch.randn_like(pixels)
        return -flow(pixels, left_out(batch.context, self.drop)).mean()
