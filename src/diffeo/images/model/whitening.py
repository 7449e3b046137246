"""Whitening of all pixels of an image together, read off many more images than the rest of a flow is.

The inner layers of a flow are set by some hundreds of images, since each becomes many channels there. A
covariance of D pixels needs more than D of them, and stands next to the data, where they cost little.

Source: Dinh, Krueger & Bengio, *NICE* (2014), section 5.1: SVHN and CIFAR-10 are whitened by ZCA.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections import Chain, Flattened, Whiten
from diffeo.errors import DataError
from diffeo.flows import Flow

#: Images that a covariance is read off, at most.
READ = 20_000


def whitening(shape: Sequence[int], method: str) -> Flattened:
    """Return the layer, not yet set: x − μ = A z over all pixels of an image.

    >>> whitening((1, 2, 2), "zca").event_shape
    torch.Size([1, 2, 2])
    """
    size = 1
    for side in shape:
        size *= side
    return Flattened(tuple(shape), Whiten(size, method))


def read_whitening(flow: Flow, rows: Tensor, seed: int) -> None:
    """Set a flow's whitening by dequantised images, where it has one that is not set.

    Args:
        flow: the flow, changed in place.
        rows: dequantised training images, (N, C, H, W).
        seed: of the choice among more than :data:`READ` of them.

    Raises:
        DataError: there are not more images than pixels: their covariance has no inverse.
    """
    if not isinstance(flow.bijection, Chain):
        return
    parts = list(flow.bijection.bijections)
    place = next((k for k, part in enumerate(parts) if _whitens(part)), None)
    if place is None:
        return
    size = rows[0].numel()
    if len(rows) <= size:
        raise DataError(
            f"there are {len(rows):,} training images of {size:,} pixels each; expected more images than "
            "pixels to whiten them: pass more, or whiten=None."
        )
    if len(rows) > READ:
        generator = torch.Generator().manual_seed(seed)
        rows = rows[torch.randperm(len(rows), generator=generator)[: max(READ, 2 * size)].sort().values]
    home = flow.base.device
    Chain(*parts[place:]).initialise(rows.to(home))


def _whitens(part: object) -> bool:
    return (
        isinstance(part, Flattened)
        and isinstance(part.bijection, Whiten)
        and not bool(part.bijection.get_buffer("initialised"))
    )
