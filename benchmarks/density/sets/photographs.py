"""BSDS300: 8×8 grey patches cut from photographs, by the recipe of Uria et al. (2013).

Patches are uniformly random: training patches from the first 180 training photographs, validation patches
from the other 20, test patches from the 100 test photographs. A uniform number is added to each grey level,
the sum divided by 256, each patch's mean taken off, and the last pixel left out. The published file was cut
with other random numbers and is not to be had; a full Gaussian scores 96.7 nats on either.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.density.protocol import Table
from benchmarks.density.sets.source import Source, numbers
from benchmarks.tables import patches

#: Patches of the three parts: a fifth of the published numbers, and the published ones.
SMALL, PUBLISHED = (200_000, 20_000, 50_000), (1_000_000, 50_000, 250_000)


def sources() -> list[Source]:
    """Return the set in two sizes."""
    return [
        Source("bsds300", partial(bsds300, SMALL), "bsds300"),
        Source("bsds300 published size", partial(bsds300, PUBLISHED), "bsds300/train", asked=True),
    ]


def bsds300(sizes: tuple[int, int, int], folder: Path) -> Table:
    """Return 63 pixels of patches; kept files of patches are taken where they have the size."""
    home, draws = folder / "bsds300", np.random.default_rng(0)
    kept = home / "patches_270k.npz"
    if sizes == SMALL and kept.exists():
        with np.load(kept) as z:
            grey = [z[part] for part in ("train", "val", "test")]
    else:
        grey = cut(home, sizes)
    x = np.concatenate([patches(part, draws) for part in grey])
    rows = (len(grey[0]), len(grey[1]), len(grey[2]))
    said = "the published photographs and recipe, other random patches"
    return numbers(x, parts=rows, said=said, published=True)


def cut(home: Path, sizes: tuple[int, int, int]) -> list[NDArray[np.uint8]]:
    """Return patches of the three parts, always the same ones."""
    train, test = _grey(home / "train"), _grey(home / "test")
    draws = np.random.default_rng(0)
    photographs = (train[:-20], train[-20:], test)
    return [_cut(found, count, draws) for found, count in zip(photographs, sizes, strict=True)]


def _cut(photographs: list[NDArray[np.uint8]], count: int, draws: np.random.Generator) -> NDArray[np.uint8]:
    which = draws.integers(len(photographs), size=count)
    found = np.empty((count, 64), np.uint8)
    for k, chosen in enumerate(which):
        photograph = photographs[chosen]
        row, column = (draws.integers(side - 7) for side in photograph.shape)
        found[k] = photograph[row : row + 8, column : column + 8].ravel()
    return found


def _grey(folder: Path) -> list[NDArray[np.uint8]]:
    from PIL import Image

    return [np.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.jpg"))]
