"""Samples of a model of images: warmed or cooled, pushed towards their class, freed from noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError, at_least, number
from diffeo.images.guidance import guided
from diffeo.images.noise import denoised

if TYPE_CHECKING:
    from diffeo.images.data import Images
    from diffeo.images.model.density import ImageModel

#: Images that pass through the flow at a time.
_ROWS = 256

#: Those that are freed from noise at a time: the gradient of log p keeps all activations.
_FREED = 16


@torch.no_grad()
def drawn(
    model: ImageModel,
    n: int,
    *,
    labels: Any = None,
    temperature: float = 1.0,
    guidance: float = 0.0,
    seed: int = 0,
) -> Images:
    """Return ``n`` images drawn from P.

    A model that learnt with Gaussian noise, y = x + u + σ ε, draws y and returns E[x + u | y] = y +
    σ² ∇ log p(y), rounded down (:func:`diffeo.images.denoised`).

    Args:
        model: the model.
        n: how many.
        labels: the class of each, or one for all, for a model with classes; if not given, all classes in
            turn.
        temperature: T: draws of the base are taken to its ``loc``, or to 0, z ↦ μ + T (z − μ). Below 1
            samples are more alike and cleaner; they are of P at 1.
        guidance: w of :func:`diffeo.images.guided`, for a transformer flow with classes that learnt with
            some of them left out (``fit(…, drop=0.1)``).
        seed: the same seed gives the same images on the same device.

    Raises:
        ConfigError: guidance was asked for, and the flow cannot have it.

    >>> from diffeo.images import image_model
    >>> settings = {"width": 16, "transforms": 1, "blocks": 1, "heads": 2}
    >>> model = image_model((1, 4, 4), 17, flow="tarflow", settings=settings, noise=0.5).eval()
    >>> drawn(model, 3).pixels.shape
    (3, 1, 4, 4)
    """
    at_least("n", n, 1)
    at_least("seed", seed, 0)
    number("temperature", temperature, least=0)
    number("guidance", guidance, least=0)
    if guidance and not model.classes:
        raise ConfigError(
            f"guidance={guidance:g} for a model without classes; expected 0: there is no class to be "
            "pushed towards."
        )
    flow = guided(model.flow, guidance) if guidance else model.flow
    given = model.numbers_of_classes(n, labels)
    context = None if given is None else model.context_of_classes(given)
    generator = torch.Generator(flow.base.device).manual_seed(seed)
    z = warmed(flow.base, flow.base.sample((n,), context, generator=generator), temperature)
    parts: list[Tensor] = []
    rows = _FREED if model.noise else _ROWS
    for start in range(0, n, rows):
        own = None if context is None else context[start : start + rows]
        y = flow.decode(z[start : start + rows], own)
        parts.append(denoised(flow, y, model.noise, own) if model.noise else y)
    return model.whole(torch.cat(parts), given)


def warmed(base: torch.nn.Module, z: Tensor, temperature: float) -> Tensor:
    """Return μ + T (z − μ), μ the centre of the base."""
    loc = getattr(base, "loc", None)
    centre = loc if isinstance(loc, Tensor) else torch.zeros_like(z)
    return centre + temperature * (z - centre)
