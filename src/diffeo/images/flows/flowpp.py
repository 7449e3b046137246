"""Flow++ for images: couplings by mixtures of logistics, steered by gated convolutions and attention."""

from __future__ import annotations

from collections.abc import Sequence

from diffeo.bijections import ActNorm, Bijection, Chain, Coupling, InvertibleConv1x1, Mask, Squeezed
from diffeo.conditioners import GatedCNN
from diffeo.distributions import Base
from diffeo.errors import ConfigError, at_least
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_flow, image_shape, squeezed
from diffeo.laws import Inverted, LogisticMixture


def FlowPP(
    shape: Sequence[int],
    context: int = 0,
    *,
    couplings: Sequence[int] = (4, 2, 3),
    components: int = 32,
    width: int = 96,
    blocks: int = 10,
    heads: int = 4,
    dropout: float = 0.0,
    base: Base | None = None,
) -> Flow:
    """Flow++ of images, as published but for its dequantisation, which is no part of a flow.

    From data to noise: four couplings with checkerboard masks; a squeeze, (C, H, W) to (4C, H/2, W/2); two
    with channel-wise masks; three with checkerboard masks. Before each, activation normalisation and an
    invertible 1 × 1 convolution. A coupling is x₂ ← logit(Σ_k π_k σ((x₂ − μ_k) exp(−s_k))) · exp(a) + b,
    its parameters made of x₁ by a network of gated convolutions and attention among all pixels. Scoring
    takes one pass, sampling a search of a bracketed root in each coupling. A coupling is that curve for x₂
    in [−30, 30], and straight beyond.

    The authors normalise and mix each half of an image for itself; here it is the whole image.

    Source: Ho, Chen, Srinivas, Duan & Abbeel, *Flow++: Improving flow-based generative models with
    variational dequantization and architecture design* (2019), section 3; defaults are those of
    CIFAR-10, which its authors train with ``dropout=0.2``.

    Args:
        shape: (C, H, W); H and W are even.
        context: features of the context, 0 for none; a class goes in as one-hot.
        couplings: of checkerboards, of channels of the squeezed image, of its checkerboards.
        components: K (see :class:`diffeo.laws.LogisticMixture`).
        width: channels of the networks, a multiple of 4 · ``heads``.
        blocks: their blocks of convolution and attention.
        heads: heads of attention.
        dropout: dropout in the networks.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = FlowPP((1, 4, 4), couplings=(1, 1, 1), components=4, width=16, blocks=1)
    >>> flow.log_prob(torch.zeros(5, 1, 4, 4)).shape
    torch.Size([5])
    """
    sizes = image_shape(shape, 2, "since it is squeezed")
    if not isinstance(couplings, list | tuple) or len(couplings) != 3:
        raise ConfigError(f"couplings={couplings!r:.80} must be three numbers of them, as (4, 2, 3).")
    for count in couplings:
        at_least("couplings", count, 1)
    law = Inverted(LogisticMixture(components))

    def stack(shape: tuple[int, int, int], kind: str, count: int) -> list[Bijection]:
        layers: list[Bijection] = []
        for k in range(count):
            network = GatedCNN(
                shape,
                law.n_params,
                width=width,
                blocks=blocks,
                heads=heads,
                context=context,
                dropout=dropout,
            )
            mask = Mask(kind, shape, flip=(count - 1 - k) % 2 == 1)
            layers += [Coupling(law, network, mask), InvertibleConv1x1(shape), ActNorm(shape)]
        return layers

    inner = squeezed(sizes)
    first, second, third = couplings
    coarse = [*stack(inner, "checkerboard", third), *stack(inner, "channelwise", second)]
    fine = stack(sizes, "checkerboard", first)
    return image_flow(sizes, Chain(Squeezed(sizes, Chain(*coarse)), *fine), base)
