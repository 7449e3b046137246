"""One way in: a folder, a file, an array or a name becomes :class:`~diffeo.images.Images`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from diffeo.errors import DataError, one_of
from diffeo.images.data import arrays, cifar, folder, idx
from diffeo.images.data.images import Images, digits

SPLITS = ("train", "test")


def read(
    source: Any, *, split: str | None = None, levels: int | None = None, layout: str | None = None
) -> Images:
    """Return the images in ``source``, as whole pixel levels of shape (N, C, H, W).

    What is read is found out from the path, and from what lies there:

    - a folder of PNG and JPEG files, its sub-folders being classes where there are any (needs Pillow);
    - ``.npy``, ``.npz``: whole numbers of shape (N, H, W), (N, C, H, W) or (N, H, W, C), C being 1 or 3. In
      an ``.npz``, the images are the array named x, images or data, or the only one that can be images;
      labels those named y or labels; and x_train, y_train, x_test, y_test are the two splits;
    - IDX files as MNIST's, plain or gzipped, or the folder that holds them;
    - CIFAR-10's archive (python or binary version), its folder or one of its batches, without executing a
      pickle;
    - "digits", the 1,797 images that scikit-learn holds.

    Args:
        source: a path, "digits", a numpy array, or :class:`Images`, returned as they are.
        split: "train" or "test", of a source that is divided, as published. If nothing is said, "train" of
            such a source, and all of another.
        levels: how many levels a pixel can have; 256 (2 for booleans) if nothing is said.
        layout: "NCHW" or "NHWC", where an array could be either.

    Raises:
        DataError: nothing could be read, or there is no such split; the message names the file, what was
            found and what to do.
        ConfigError: ``split`` or ``layout`` is not known.

    >>> read("digits")
    Images(1797 of 1 × 8 × 8, 17 levels, 10 classes)
    >>> read(np.zeros((5, 28, 28), np.uint8)).shape
    (1, 28, 28)
    """
    if split is not None:
        one_of("split", split, SPLITS)
    if layout is not None:
        one_of("layout", layout, arrays.LAYOUTS)
    if isinstance(source, Images):
        _undivided(source, split)
        return source
    if isinstance(source, np.ndarray):
        _undivided("an array", split)
        return arrays.from_array(source, name="images", levels=levels, layout=layout)
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            f"source is a {type(source).__name__}; expected a path, a numpy array of whole numbers, or "
            '"digits": pass one.'
        )
    path = Path(source)
    if source == "digits" and not path.exists():
        _undivided('"digits"', split)
        return digits()
    if not path.exists():
        raise DataError(
            f"{str(path)!r} does not exist; expected a folder of images, an .npy or .npz, IDX files, "
            "CIFAR-10's "
            'archive, or "digits". Published sets are fetched by diffeo.images.download("mnist", folder).'
        )
    found = _read_folder(path, split) if path.is_dir() else _read_file(path, split, levels, layout)
    if levels is not None and levels != found.levels:
        return Images(found.pixels, levels, found.labels, found.names, found.classes)
    return found


def _read_folder(path: Path, split: str | None) -> Images:
    for reader in (idx, cifar):
        if reader.lies_in(path):
            return reader.from_folder(path, split or "train")
    divided = all((path / each).is_dir() for each in SPLITS)
    if divided or (split is not None and (path / split).is_dir()):
        return folder.from_folder(path / (split or "train"))
    _undivided(repr(str(path)), split)
    return folder.from_folder(path)


def _undivided(source: Any, split: str | None) -> None:
    """Raise where a split is asked of what has none: all of it would be taken for that."""
    if split is not None:
        raise DataError(
            f"split={split!r} was asked of {source}, which is not divided into train and test; expected a "
            "source that is: leave split out, or divide the images, as into folders train and test."
        )


def _read_file(path: Path, split: str | None, levels: int | None, layout: str | None) -> Images:
    if path.suffix == ".npz":
        return arrays.from_npz(path, split=split, levels=levels, layout=layout)
    if cifar.is_archive(path):
        return cifar.from_archive(path, split or "train")
    if split is not None and split not in (idx.split_of(path), cifar.split_of(path)):
        _undivided(repr(str(path)), split)
    if path.suffix == ".npy":
        return arrays.from_npy(path, levels=levels, layout=layout)
    if cifar.is_batch(path):
        return cifar.from_batch(path)
    if folder.is_image(path):
        return folder.from_files([path], root=path.parent)
    return idx.from_file(path)
