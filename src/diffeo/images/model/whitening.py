"""Whitening of all pixels of an image together, read off many more images than the rest of a flow is.

The inner layers of a flow are set by some hundreds of images, since each becomes many channels there. A
covariance of D pixels needs more than D of them, and stands next to the data, where they cost little.

Source: Dinh, Krueger & Bengio, *NICE* (2014), section 5.1: SVHN and CIFAR-10 are whitened by ZCA.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections import Chain, Flattened, Logit, Whiten
from diffeo.errors import DataError
from diffeo.flows import Flow
from diffeo.images.model.dequantisation import Dequantisation
from diffeo.images.model.pixels import Pixels

#: Images that a covariance is read off, at most, unless they have more than half as many pixels.
READ = 20_000

#: Images that are looked at together.
PART = 256


def whitening(shape: Sequence[int], method: str) -> Flattened:
    """Return the layer, not yet set: x − μ = A z over all pixels of an image.

    >>> whitening((1, 2, 2), "zca").event_shape
    torch.Size([1, 2, 2])
    """
    return Flattened(tuple(shape), Whiten(math.prod(shape), method))


def read_whitening(flow: Flow, rows: Tensor, context: Tensor | None, seed: int) -> None:
    """Set a flow's whitening by dequantised images, where there is one next to the pixels that is not set.

    Args:
        flow: the flow, changed in place.
        rows: dequantised training images, (N, C, H, W).
        context: their contexts, (N, features), or None.
        seed: of the choice among more than :data:`READ` of them.

    Raises:
        DataError: there are not more images than pixels: their covariance has no inverse.
    """
    parts = list(flow.bijection.bijections) if isinstance(flow.bijection, Chain) else []
    place = next((k for k, part in enumerate(parts) if _unset(part)), None)
    if place is None:
        return
    if not all(isinstance(part, (Logit, Pixels, Dequantisation)) for part in parts[place + 1 :]):
        return  # inside of somebody's own flow: the engine reads it with the rest
    size = rows[0].numel()
    if len(rows) <= size:
        raise DataError(
            f"there are {len(rows):,} training images of {size:,} pixels each; expected more images than "
            "pixels to whiten them: pass more, or leave the whitening out (whiten=None)."
        )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[: max(READ, 2 * size)].sort().values
    flow.eval()
    layer: Any = parts[place]
    layer.bijection.place(*_moments(Chain(*parts[place + 1 :]), rows, context, chosen, flow))


@torch.no_grad()
def _moments(
    layers: Chain, rows: Tensor, context: Tensor | None, chosen: Tensor, flow: Flow
) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the chosen rows as they leave ``layers``, summed part by part."""
    device, dtype = flow.base.device, flow.dtype
    size = rows[0].numel()
    total = torch.zeros(size, dtype=torch.float64, device=device)
    products = torch.zeros(size, size, dtype=torch.float64, device=device)
    centre: Tensor | None = None  # near the mean: sums of squares far from it would lose digits
    for index in chosen.split(PART):
        given = None if context is None else context[index].to(device, dtype)
        seen = layers.inverse(rows[index].to(device, dtype), given)[0].flatten(1).double()
        centre = seen.mean(0) if centre is None else centre
        seen = seen - centre
        total += seen.sum(0)
        products.addmm_(seen.T, seen)
    assert centre is not None
    mean = total / len(chosen)
    return centre + mean, products / len(chosen) - mean.outer(mean)


def _unset(part: object) -> bool:
    return (
        isinstance(part, Flattened)
        and isinstance(part.bijection, Whiten)
        and not bool(part.bijection.get_buffer("initialised"))
    )
