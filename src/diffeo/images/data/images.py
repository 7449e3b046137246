"""What images are: whole pixel levels of one size, with labels where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError, DtypeError, ShapeError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Images:
    """N images of one size, each pixel one of L whole levels 0, …, L − 1.

    Attributes:
        pixels: uint8, shape (N, C, H, W).
        levels: L, from 2 to 256.
        labels: the class of each image, counted from 0, or None.
        names: where each image came from, as "cats/7.png" or "images[7]".
        classes: the names of the classes, in the order of ``labels``.

    Raises:
        DtypeError: ``pixels`` is no uint8 array.
        ShapeError: it is not of shape (N, C, H, W), or there are not as many labels or names as images.
        DataError: there is no image, or a pixel or a label is out of range.

    >>> images = Images(np.zeros((3, 1, 2, 2), np.uint8), levels=17)
    >>> len(images), images.shape, images[1:].names
    (3, (1, 2, 2), ('images[1]', 'images[2]'))
    """

    pixels: Pixels
    levels: int = 256
    labels: Labels | None = None
    names: Sequence[str] = ()
    classes: Sequence[str] = ()

    def __post_init__(self) -> None:
        pixels: Any = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
            found = (
                f"an array of {pixels.dtype}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            )
            raise DtypeError(
                f"pixels is {found}; expected a numpy array of uint8, whole levels: pass "
                "pixels.astype('uint8') if that is what they are."
            )
        if pixels.ndim != 4:
            raise ShapeError(
                f"pixels has shape {pixels.shape}; expected (images, channels, height, width): reshape it."
            )
        if isinstance(self.levels, bool) or not isinstance(self.levels, int) or not 2 <= self.levels <= 256:
            raise ConfigError(
                f"levels={self.levels!r:.60} must be a whole number from 2 to 256: one more than the "
                "largest pixel that there can be, as 256 for eight bits."
            )
        if not pixels.size:
            raise DataError(
                f"pixels has shape {pixels.shape}, so there is no image; expected at least one: pass some."
            )
        brightest = pixels.max((1, 2, 3))
        names = tuple(self.names) or tuple(f"images[{k}]" for k in range(len(pixels)))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "classes", tuple(self.classes))
        if len(names) != len(pixels):
            raise ShapeError(f"names has {len(names)} entries; expected {len(pixels)}, one an image.")
        if int(brightest.max()) >= self.levels:
            first = int((brightest >= self.levels).argmax())
            raise DataError(
                f"{names[first]} has a pixel of {int(brightest[first])}; expected 0 to {self.levels - 1} "
                f"with levels={self.levels}: pass the number of levels that the images have."
            )
        if self.labels is not None:
            self._check_labels(np.asarray(self.labels), len(pixels))

    def _check_labels(self, labels: NDArray[Any], count: int) -> None:
        if labels.ndim != 1 or len(labels) != count:
            raise ShapeError(f"labels has shape {labels.shape}; expected ({count},), one class an image.")
        if labels.dtype.kind not in "iu":
            raise DtypeError(
                f"labels is an array of {labels.dtype}; expected whole numbers counted from 0: number the "
                "classes, as numpy.unique(labels, return_inverse=True)[1] does."
            )
        most = len(self.classes) or int(labels.max()) + 1
        wrong = (labels < 0) | (labels >= most)
        if wrong.any():
            k = int(wrong.argmax())
            raise DataError(
                f"labels[{k}] is {int(labels[k])}; expected 0 to {most - 1}, the number of a class: count "
                "classes from 0."
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: slice | NDArray[Any] | Sequence[int]) -> Self:
        """Return some of the images: a slice, numbers or booleans, as numpy takes them."""
        where = np.arange(len(self))[index if isinstance(index, slice) else np.asarray(index)]
        if where.ndim != 1:
            raise ConfigError("index must be a slice or a list of numbers: images[7:8] is one image.")
        labels = None if self.labels is None else self.labels[where]
        names = [self.names[int(k)] for k in where]
        return type(self)(self.pixels[where], self.levels, labels, names, self.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W)."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width

    @property
    def count_of_classes(self) -> int:
        """Return how many classes there are, 0 without labels."""
        if self.labels is None:
            return 0
        return len(self.classes) or int(self.labels.max()) + 1

    def split(self, share: float, *, seed: int = 0) -> tuple[Self, Self]:
        """Return (the rest, a share drawn at random), each in the order that it was in.

        >>> rest, held = Images(np.zeros((10, 1, 2, 2), np.uint8)).split(0.2)
        >>> len(rest), len(held)
        (8, 2)
        """
        rest, drawn = parted(len(self), share, seed)
        return self[rest], self[drawn]

    def __repr__(self) -> str:
        channels, height, width = self.shape
        labelled = f", {self.count_of_classes} classes" if self.labels is not None else ""
        return f"Images({len(self)} of {channels} × {height} × {width}, {self.levels} levels{labelled})"


def parted(count: int, share: float, seed: int) -> tuple[Labels, Labels]:
    """Return the numbers of the rest and of a share drawn at random, of ``count`` images, each rising."""
    if not isinstance(share, float) or not 0 < share < 1:
        raise ConfigError(f"share={share!r} must be a fraction between 0 and 1, as 0.1.")
    order = np.random.default_rng(seed).permutation(count)
    cut = max(1, round(count * share))
    if cut >= count:
        raise DataError(f"{count} image(s) cannot be divided; expected at least two: add some.")
    return np.sort(order[cut:]), np.sort(order[:cut])


def digits() -> Images:
    """Return scikit-learn's 1,797 handwritten digits, 8 × 8 pixels of 17 levels.

    >>> digits()
    Images(1797 of 1 × 8 × 8, 17 levels, 10 classes)
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    pixels = np.asarray(bunch.images).astype(np.uint8)[:, None]
    names = [f"digits[{k}]" for k in range(len(pixels))]
    return Images(pixels, 17, np.asarray(bunch.target), names, [str(name) for name in range(10)])
