"""What a model of images knows, as rows of images: temperatures, scales, noise moulded into images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.bijections import Bijection, Logit, Split
from diffeo.bijections.chain import Chain, layers_of
from diffeo.bijections.rearranged import Rearranged
from diffeo.errors import ConfigError, at_least, number
from diffeo.images.data import Images
from diffeo.images.model.density import ImageModel
from diffeo.images.model.dequantisation import Dequantisation
from diffeo.images.model.pixels import Pixels
from diffeo.images.model.sampling import warmed


def temperatures(
    model: ImageModel,
    n: int,
    values: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    *,
    labels: Any = None,
    seed: int = 0,
) -> list[Images]:
    """Return ``n`` samples at each temperature, from the same draws of the base; labels as of a sample.

    Source: Kingma & Dhariwal, *Glow* (2018), section 5, figure 8.
    """
    return [model.sample(n, labels=labels, temperature=float(value), seed=seed) for value in values]


def scale_of_latents(bijection: Bijection, shape: Sequence[int]) -> Tensor:
    """Return, for each element of z, the scale that it is factored out at; 0 is the finest.

    Elements that no :class:`~diffeo.bijections.Split` lets go are of the last scale.

    >>> from diffeo.images import RealNVP
    >>> scale_of_latents(RealNVP((1, 4, 4), scales=3, width=2, blocks=1).bijection, (1, 4, 4)).unique()
    tensor([0, 1, 2])
    """
    if isinstance(bijection, Chain):
        layers = [part for part in bijection.bijections if isinstance(part, Bijection)]
        return torch.stack([scale_of_latents(layer, shape) for layer in layers]).amax(0)
    if isinstance(bijection, Rearranged):
        return bijection.restored(scale_of_latents(bijection.bijection, bijection.inner_shape))
    if isinstance(bijection, Split):
        inside = (bijection.at, *bijection.event_shape[1:])
        goes_on = 1 + scale_of_latents(bijection.bijection, inside)
        rest = (bijection.event_shape[0] - bijection.at, *bijection.event_shape[1:])
        return torch.cat([goes_on, torch.zeros(rest, dtype=torch.long)])
    return torch.zeros(tuple(shape), dtype=torch.long)


@torch.no_grad()
def what_scales_hold(model: ImageModel, images: Images, *, seed: int = 0) -> list[Images]:
    """Return images, then the same with the latents of ever coarser scales alone, the finer ones redrawn.

    A model of one scale has none to leave out.

    Source: Dinh, Sohl-Dickstein & Bengio, *Real NVP* (2017), appendix D, figure 7.
    """
    scale = scale_of_latents(model.flow.bijection, model.shape).to(model.flow.base.device)
    z = model.encode(images)
    labels = images.labels if model.classes else None
    generator = torch.Generator(z.device).manual_seed(seed)
    context = model.context_of(images)
    others = model.flow.base.sample((len(z),), context, generator=generator)
    coarser = range(1, int(scale.max()) + 1)
    return [images, *(model.decode(torch.where(scale >= k, z, others), labels) for k in coarser)]


@torch.no_grad()
def moulding(
    model: ImageModel,
    n: int,
    steps: int = 8,
    *,
    labels: Any = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Images]:
    """Return how noise becomes images: ``steps`` pictures of each of ``n`` draws, the sample last.

    What some of the flow's layers have made of the noise is shown as pixels are made of it at the end; of
    unbounded numbers, those beyond the levels are black or white.

    Args:
        model: the model.
        n: draws.
        steps: pictures of each, at least 2; fewer are returned of a flow of fewer layers.
        labels: the class of each draw, as of :meth:`ImageModel.sample`.
        temperature: of the draws.
        seed: of the draws.
    """
    at_least("n", n, 1)
    at_least("steps", steps, 2)
    number("temperature", temperature, least=0)
    body = pieces_of(model.flow.bijection)
    last: list[Bijection] = []
    while body and isinstance(body[-1], Logit | Pixels | Dequantisation):
        last.insert(0, body.pop())
    if not body:
        raise ConfigError("the flow has no layers before its pixels; expected some: nothing is moulded.")
    base = model.flow.base
    given = model.numbers_of_classes(n, labels)
    context = None if given is None else model.context_of_classes(given)
    generator = torch.Generator(base.device).manual_seed(seed)
    z = warmed(base, base.sample((n,), context, generator=generator), temperature)
    shown = {round(k * len(body) / (steps - 1)) for k in range(steps)}
    frames = [_pixels(model, z, last, context)]
    for k, layer in enumerate(body[:-1], start=1):
        z, _ = layer(z, context)
        if k in shown:
            frames.append(_pixels(model, z, last, context))
    # From the same draws; a model that learnt with noise takes it away at the end.
    frames.append(model.sample(n, labels=labels, temperature=temperature, seed=seed).pixels)
    return [Images(np.stack(way), model.levels) for way in zip(*frames, strict=True)]


def pieces_of(bijection: Bijection) -> list[Bijection]:
    """Return layers whose chain a bijection is, noise side first; what a layer holds is taken out of it.

    >>> from diffeo.images import Glow
    >>> flow = Glow((1, 4, 4), levels=1, steps=2, width=4)
    >>> len(flow.bijection.bijections), len(pieces_of(flow.bijection))
    (1, 6)
    """
    found: list[Bijection] = []
    for _, layer in layers_of(bijection):
        if isinstance(layer, Rearranged):
            found += [layer.around(piece) for piece in pieces_of(layer.bijection)]
        elif isinstance(layer, Split):
            found += [Split(layer.event_shape, layer.at, piece) for piece in pieces_of(layer.bijection)]
        else:
            found.append(layer)
    return found


def _pixels(
    model: ImageModel, value: Tensor, last: Sequence[Bijection], context: Tensor | None
) -> np.ndarray:
    for layer in last:
        value, _ = layer(value, context)
    whole = torch.nan_to_num(value.floor(), nan=0.0).clamp(0, model.levels - 1)
    return whole.cpu().numpy().astype(np.uint8)
