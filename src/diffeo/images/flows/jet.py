"""Jet: affine couplings of patches, steered by vision transformers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffeo.bijections import Bijection, Chain, Coupling, Mask, Squeezed
from diffeo.conditioners import VisionTransformer
from diffeo.distributions import Base
from diffeo.errors import ConfigError, at_least, one_of
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_flow, image_shape, squeezed
from diffeo.laws import Affine


def Jet(
    shape: Sequence[int],
    context: int = 0,
    *,
    patch: int = 4,
    couplings: int = 32,
    width: int = 512,
    blocks: int = 2,
    heads: int = 8,
    kinds: Sequence[str] = ("channels", "channels", "spatial"),
    bound: float = 2.0,
    dropout: float = 0.0,
    seed: int = 0,
    base: Base | None = None,
) -> Flow:
    """Jet: couplings of patches whose parts are taken by channels and by space in turn.

    The image is cut into patches of P × P pixels, each of them a token of C P² channels. From data to
    noise, in each coupling y₁ = x₁, y₂ = (x₂ − t(x₁)) ⊙ exp(−s(x₁)) with s and t by a vision transformer
    over the tokens. "channels" passes a random half of the channels of every token, "spatial" every other
    token, as on a checkerboard, the colours taking turns. Both directions cost one pass.

    Where this differs from the paper: log-scales are ``bound`` · tanh(· / ``bound``), where the authors
    multiply by twice a sigmoid. Number, width and depth of the couplings are no published configuration.

    Source: Kolesnikov, Steiner Pinto & Tschannen, *Jet: A modern transformer-based normalizing flow*
    (2024), section 3; the order of the kinds is that of the authors' code.

    Args:
        shape: (C, H, W); H and W are multiples of ``patch``.
        context: features of the context, 0 for none; a class goes in as one-hot.
        patch: P.
        couplings: how many there are.
        width: units of a token in the transformers, a multiple of 4 · ``heads``.
        blocks: blocks of each transformer.
        heads: their heads of attention.
        kinds: "channels" or "spatial", from data to noise, again from the first when they end.
        bound: the largest log-scale of a coupling (see :class:`diffeo.laws.Affine`).
        dropout: dropout in the transformers.
        seed: of the random halves.
        base: the base density, the standard normal if not given.

    >>> import torch
    >>> flow = Jet((1, 4, 4), patch=2, couplings=3, width=16, heads=2)
    >>> flow.log_prob(torch.zeros(5, 1, 4, 4)).shape
    torch.Size([5])
    """
    at_least("patch", patch, 1)
    at_least("couplings", couplings, 1)
    at_least("seed", seed, 0)
    sizes = image_shape(shape, patch, f"since a patch has patch={patch} of each")
    if not isinstance(kinds, list | tuple) or not kinds:
        raise ConfigError(f"kinds={kinds!r:.80} must be a sequence of 'channels' and 'spatial'.")
    for kind in kinds:
        one_of("kinds", kind, ("channels", "spatial"))
    inner, law = squeezed(sizes, patch), Affine(bound)
    draws = torch.Generator().manual_seed(seed)
    layers: list[Bijection] = []
    spatial = 0
    for k in range(couplings):
        if kinds[k % len(kinds)] == "spatial":
            mask = Mask.checkerboard(inner, flip=spatial % 2 == 1)
            spatial += 1
        else:
            half = torch.randperm(inner[0], generator=draws, device="cpu") < inner[0] // 2
            mask = Mask.channels(inner, half.tolist())
        network = VisionTransformer(
            inner,
            law.n_params,
            width=width,
            blocks=blocks,
            heads=heads,
            context=context,
            dropout=dropout,
        )
        layers.append(Coupling(law, network, mask))
    # Counted from the data; a chain counts from the noise.
    return image_flow(sizes, Squeezed(sizes, Chain(*layers[::-1]), patch), base)
