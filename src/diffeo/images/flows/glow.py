"""Glow for images: activation normalisation, invertible 1 × 1 convolutions and affine couplings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffeo.bijections import ActNorm, Bijection, Chain, Coupling, InvertibleConv1x1, Mask, Squeezed
from diffeo.conditioners import CNN
from diffeo.distributions import Base, DiagonalNormal
from diffeo.errors import at_least, flag
from diffeo.flows import Flow
from diffeo.images.flows.scales import image_flow, multi_scale, scaled_shape, squeezed
from diffeo.laws import Affine

#: Published settings: ``Glow((3, 64, 64), **GLOW_SETTINGS["imagenet64"])``.
GLOW_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "cifar10": {"levels": 3, "steps": 32, "width": 512},
    "imagenet32": {"levels": 3, "steps": 48, "width": 512},
    "imagenet64": {"levels": 4, "steps": 48, "width": 512},
    "lsun": {"levels": 4, "steps": 48, "width": 512},
}


def Glow(
    shape: Sequence[int],
    context: int = 0,
    *,
    levels: int = 3,
    steps: int = 32,
    width: int = 512,
    bound: float = 2.0,
    learned_prior: bool = True,
    seed: int = 0,
    base: Base | None = None,
) -> Flow:
    """Glow, as published: K steps of flow at each of L levels.

    From data to noise, at each level: a squeeze; K steps of activation normalisation, set on the first
    rows, an invertible 1 × 1 convolution W = P L U and an affine coupling of the channels, steered by
    convolutions 3 × 3, 1 × 1, 3 × 3; then, but at the last level, half of the channels are factored out.
    With ``learned_prior`` these have the normal density whose mean and scale a 3 × 3 convolution makes of
    the half that goes on, and the base's mean and scale are learnt too. Both directions cost one pass.

    Where this differs from the paper: W starts at a random permutation and not at a rotation, log-scales
    are ``bound`` · tanh(· / ``bound``) and not a log-sigmoid, and no normalisation stands in the networks.

    Source: Kingma & Dhariwal, *Glow: Generative flow with invertible 1 × 1 convolutions* (2018), table 1
    and sections 3–4; defaults are those of CIFAR-10. ``GLOW_SETTINGS`` has those of the other data sets.

    Args:
        shape: (C, H, W); H and W are multiples of 2^levels.
        context: features of the context, 0 for none; a class goes in as one-hot.
        levels: L.
        steps: K.
        width: channels of the hidden layers.
        bound: the largest log-scale of a coupling (see :class:`diffeo.laws.Affine`).
        learned_prior: whether the densities of factored-out channels, and of the last, are learnt.
        seed: of the permutations that W begin at.
        base: the base density; if not given, a normal one, standard without ``learned_prior``.

    >>> import torch
    >>> Glow((1, 8, 8), levels=2, steps=2, width=8).log_prob(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5])
    """
    at_least("levels", levels, 1)
    at_least("steps", steps, 1)
    flag("learned_prior", learned_prior)
    at_least("seed", seed, 0)
    sizes = scaled_shape(shape, levels, levels, "levels")
    law = Affine(bound)

    def level(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        layers: list[Bijection] = []
        for k in range(steps):
            network = CNN(shape, law.n_params, hidden=(width, width), context=context)
            mix = InvertibleConv1x1(shape, permute="random", seed=seed + 1000 * scale + k)
            layers += [Coupling(law, network, Mask.channelwise(shape)), mix, ActNorm(shape)]
        return layers

    def coarse(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        prior: list[Bijection] = []
        if learned_prior:
            network = CNN(shape, law.n_params, hidden=(), kernels=(3,), context=context)
            prior.append(Coupling(law, network, Mask.channelwise(shape)))
        return [*prior, *level(shape, scale)]

    def fine(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        return []

    def last(shape: tuple[int, int, int], scale: int) -> list[Bijection]:
        return [Squeezed(shape, Chain(*level(squeezed(shape), scale)))]

    if base is None and learned_prior:
        base = DiagonalNormal(sizes)
    return image_flow(sizes, multi_scale(sizes, levels, fine, coarse, last), base)
