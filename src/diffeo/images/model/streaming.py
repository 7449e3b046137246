"""Dequantised images as rows of the engine: in memory, or in a file that is read batch by batch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffeo.errors import ConfigError, DataError, FileError
from diffeo.images.data import Images
from diffeo.images.data.room import reserve
from diffeo.images.model.cells import with_noise

#: Images that are made into rows at a time.
_PART = 1024


@contextlib.contextmanager
def streamed(
    images: Images,
    dtype: torch.dtype,
    seed: int,
    scratch: str | PathLike[str] | None = None,
    which: NDArray[np.int64] | None = None,
) -> Generator[Tensor]:
    """Yield x + u of all images, or of some, (N, C, H, W), on the CPU.

    Args:
        images: the images.
        dtype: float32 or float64.
        seed: of the noise u.
        scratch: a folder, for a file of the rows that is gone afterwards: 4 bytes a pixel of float32. The
            rows are then a map of it, and need no memory of their own. None keeps them in memory.
        which: numbers of images, rising; all if not given. Images that are themselves a map are read part
            by part, and never held together.

    Raises:
        FileError: the file cannot be made.

    >>> images = Images(np.zeros((2, 1, 3, 3), np.uint8))
    >>> with streamed(images, torch.float32, seed=0) as rows:
    ...     print(rows.shape, bool((rows.floor() == 0).all()))
    torch.Size([2, 1, 3, 3]) True
    """
    if dtype not in (torch.float32, torch.float64):
        raise ConfigError(
            f"the model computes in {dtype}; expected float32 or float64: pass model.float()."
        )
    count = len(images) if which is None else len(which)
    if count < 2:
        raise DataError(f"there are {count} image(s); expected more: a density needs some to learn from.")
    with contextlib.ExitStack() as stack:
        shape = (count, *images.shape)
        rows = torch.empty(shape, dtype=dtype) if scratch is None else _mapped(stack, shape, dtype, scratch)
        generator = torch.Generator().manual_seed(seed)
        for start in range(0, count, _PART):
            part = slice(start, start + _PART)
            pixels = images.pixels[part if which is None else which[part]]
            cells = torch.from_numpy(pixels.astype(np.float32)).to(dtype)
            rows[part] = with_noise(cells, generator)
        yield rows


def _mapped(
    stack: contextlib.ExitStack, shape: tuple[int, ...], dtype: torch.dtype, scratch: str | PathLike[str]
) -> Tensor:
    """Return a tensor that is a file, which ``stack`` takes away."""
    size = int(np.prod(shape))
    try:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="diffeo-rows-", dir=scratch))
        path = Path(folder) / "rows"
        with open(path, "wb") as file:  # its room is taken now: a full disk would kill whoever writes a map
            reserve(file, size * dtype.itemsize)
    except OSError as error:
        raise FileError(
            f"scratch={str(scratch)!r} cannot hold a file of {size * dtype.itemsize / 2**30:.2f} GiB "
            f"({error.strerror}); expected a folder with that much room: name one, or pass None."
        ) from error
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype).reshape(shape)
