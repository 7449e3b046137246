"""A model of images put together by name: a published flow, what brings pixels to it, noise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffeo.bijections import Bijection, Chain, Logit
from diffeo.bijections.whiten import METHODS
from diffeo.errors import ConfigError, at_least, did_you_mean, number, one_of
from diffeo.flows import Flow
from diffeo.images import flows
from diffeo.images.model.density import ImageModel
from diffeo.images.model.dequantisation import Dequantisation
from diffeo.images.model.pixels import Pixels
from diffeo.images.model.whitening import whitening

#: The published flows of images, by the names that the command line knows.
FLOWS: Mapping[str, Callable[..., Flow]] = {
    name.lower(): getattr(flows, name)
    for name in flows.__all__
    if inspect.isfunction(getattr(flows, name)) and name[0].isupper()
}

#: What each paper does to pixels; a logit, where nothing is said.
_PIXELS = {"nice": "unit", "glow": "centred"}

#: Where levels 0 and L go to, of pixels that no logit bends.
_RANGES = {"unit": (0.0, 1.0), "centred": (-0.5, 0.5), "symmetric": (-1.0, 1.0)}

#: α of the logit, as in Real NVP.
_ALPHA = 0.05


def image_model(
    shape: Sequence[int],
    levels: int = 256,
    *,
    flow: str | Flow = "realnvp",
    settings: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    pixels: str | None = None,
    dequantisation: str = "uniform",
    alpha: float = _ALPHA,
    noise_width: int = 32,
    noise: float = 0.0,
    whiten: str | None = None,
) -> ImageModel:
    """Return an untrained :class:`ImageModel`: base, flow, what pixels are to it, noise in their cells.

    Args:
        shape: (C, H, W).
        levels: L, how many levels a pixel has.
        flow: "realnvp", "glow" or another of :data:`FLOWS`, with its defaults (those of its paper for
            CIFAR-10, of NICE for MNIST, of TarFlow for ImageNet 64 × 64, where a GPU is needed; Jet has no
            published ones); or a flow of images of this shape.
        settings: of a flow that is named, as ``{"scales": 3}``; see ``diffeo.images.RealNVP`` and others.
        classes: the names of the classes that the density is conditional on; none if empty.
        pixels: how dequantised pixels reach the flow: "logit", logit(α + (1 − 2α) x/L); "unit", x/L; or
            "centred", x/L − ½; "symmetric", 2 x/L − 1, as in NICE of CIFAR-10. If not given, "unit" for
            NICE, "centred" for Glow, else "logit".
        dequantisation: "uniform", or "variational" (:class:`Dequantisation`).
        alpha: α of the logit.
        noise_width: channels of the networks of variational dequantisation.
        noise: σ, in levels, of Gaussian noise that a fit adds and samples are freed from; the paper of
            TarFlow has 0.05 of half the range, 6.4 of 256 levels. Pixels are then "centred" if nothing is
            said, and not a logit's: noise takes them beyond their range.
        whiten: "zca", "pca" or "cholesky": what all pixels of an image are made uncorrelated by before the
            flow sees them, as NICE is of SVHN and CIFAR-10 ("zca"); :meth:`ImageModel.fit` reads it off
            20,000 images (off more, of more than 10,000 pixels), and needs more than an image has pixels.
            None leaves them as they are.

    Raises:
        ConfigError: an argument is not known, or the flow cannot have this shape.

    >>> image_model((1, 8, 8), 17, settings={"width": 8, "blocks": 1}).levels
    17
    """
    at_least("levels", levels, 2)
    number("noise", noise, least=0)
    usual = "centred" if noise else "logit"
    chosen = pixels or (_PIXELS.get(flow, usual) if isinstance(flow, str) else usual)
    one_of("pixels", chosen, ("logit", *_RANGES))
    one_of("dequantisation", dequantisation, ("uniform", "variational"))
    number("alpha", alpha, least=0, below=0.5)
    if whiten is not None:
        one_of("whiten", whiten, METHODS)
    if noise and (chosen == "logit" or dequantisation == "variational"):
        raise ConfigError(
            f"noise={noise:g} with pixels={chosen!r} and dequantisation={dequantisation!r}; expected "
            'pixels "unit", "centred" or "symmetric" and uniform dequantisation: the others have no '
            "density beyond the levels, where noise takes pixels."
        )
    body = flow if isinstance(flow, Flow) else _named(flow, shape, len(classes), settings or {})
    layers: list[Bijection] = [] if whiten is None else [whitening(shape, whiten)]
    if chosen == "logit":
        layers.append(Logit(0.0, float(levels), alpha, event_ndim=3))
    else:
        layers.append(Pixels(tuple(shape), levels, *_RANGES[chosen]))
    if dequantisation == "variational":
        layers.append(Dequantisation(tuple(shape), levels, width=noise_width))
    return ImageModel(Flow(body.base, Chain(body.bijection, *layers)), levels, tuple(classes), noise)


def _named(name: str, shape: Sequence[int], context: int, settings: Mapping[str, Any]) -> Flow:
    """Return the published flow of that name."""
    one_of("flow", name, FLOWS)
    make = FLOWS[name]
    known = list(inspect.signature(make).parameters)[2:]  # after the shape and the context
    for setting, value in settings.items():
        if setting not in known:
            raise ConfigError(
                f"{setting}={value!r:.60} is no setting of {make.__name__}; expected one of "
                f"{', '.join(known)}.{did_you_mean(setting, known)}"
            )
    return make(tuple(shape), context, **settings)
