"""Images side by side in one picture, and the picture as a PNG."""

from __future__ import annotations

import math
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import at_least
from diffeo.files.atomic import write_atomically
from diffeo.images.data import Images
from diffeo.images.data.folder import pillow

Picture = NDArray[np.uint8]

#: The grey between images, and how wide it is.
_BETWEEN, _GAP = 128, 2

#: The least side of an image of a picture that is saved, in pixels: small images are magnified to it.
_SIDE = 64


def grid(images: Images, columns: int | None = None) -> Picture:
    """Return one picture of all images, row by row, uint8 (height, width, 1 or 3).

    Levels are stretched to 0, …, 255.

    Args:
        images: what is shown.
        columns: images of a row; about as many as there are rows if not given.

    >>> from diffeo.images import read
    >>> grid(read("digits")[:6], columns=3).shape
    (22, 32, 1)
    """
    at_least("columns", columns, 1, optional=True)
    across = columns or math.ceil(math.sqrt(len(images)))
    down = math.ceil(len(images) / across)
    channels, height, width = images.shape
    shown = np.rint(images.pixels * (255 / (images.levels - 1))).astype(np.uint8)
    picture = np.full(
        (down * (height + _GAP) + _GAP, across * (width + _GAP) + _GAP, channels), _BETWEEN, np.uint8
    )
    for k, image in enumerate(shown):
        top, left = (
            _GAP + at * (size + _GAP) for at, size in zip(divmod(k, across), (height, width), strict=True)
        )
        picture[top : top + height, left : left + width] = image.transpose(1, 2, 0)
    return picture


def joined(rows: list[Images]) -> tuple[Images, int]:
    """Return rows of images as one, and how many each has (as many each): what :func:`grid` takes."""
    first = rows[0]
    return Images(np.concatenate([row.pixels for row in rows]), first.levels), len(first)


def save_picture(picture: Picture, path: str | PathLike[str], *, magnified: int = 1) -> None:
    """Write a picture as a PNG, each pixel ``magnified`` times as wide and high.

    Raises:
        ConfigError: Pillow is not installed.
        FileError: the file cannot be written; what was there before is untouched.
    """
    at_least("magnified", magnified, 1)
    large = picture.repeat(magnified, 0).repeat(magnified, 1)
    image = pillow().fromarray(large[..., 0] if large.shape[-1] == 1 else large)
    with write_atomically(path) as file:
        image.save(file, format="PNG")


def magnification(images: Images) -> int:
    """Return how many times images are magnified so that they can be seen.

    >>> from diffeo.images import read
    >>> magnification(read("digits"))
    8
    """
    return max(1, math.ceil(_SIDE / max(images.shape[1:])))
