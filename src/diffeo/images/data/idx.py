"""IDX files, MNIST's format: a magic number, the sizes, the bytes; plain or gzipped.

    0x00 0x00  type (8: unsigned byte)  number of dimensions d  d sizes, big-endian  the numbers

Source: LeCun, Cortes & Burges, *The MNIST database of handwritten digits*, "file formats".
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.images.data.images import Images

#: The beginnings of the names of the published files of each split.
_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

#: The most bytes that a file may unpack to: MNIST's have 47 million.
_MOST = 2**33


def lies_in(path: Path) -> bool:
    """Return whether a folder holds MNIST's files."""
    return any(_found(path, name) is not None for name, _ in _FILES.values())


def split_of(path: Path) -> str | None:
    """Return the split that a file is of, by the name that it was published under."""
    found = (split for split, (images, _) in _FILES.items() if path.name.removesuffix(".gz") == images)
    return next(found, None)


def from_folder(path: Path, split: str) -> Images:
    """Return the images of a split, with their labels where these lie beside them."""
    images, labels = (_found(path, name) for name in _FILES[split])
    if images is None:
        raise DataError(
            f"{str(path)!r} has no {_FILES[split][0]} (or .gz); expected the images of the split "
            f"{split!r}: "
            'fetch them with diffeo.images.download("mnist", folder), or choose the other split.'
        )
    return _with_labels(images, labels)


def from_file(path: Path) -> Images:
    """Return the images of one file; labels are read where they lie beside it under the usual name."""
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    beside = path.with_name(name)
    return _with_labels(path, beside if name != path.name and beside.exists() else None)


def _with_labels(images: Path, labels: Path | None) -> Images:
    pixels = numbers_in(images, 3)
    classes = None if labels is None else numbers_in(labels, 1).astype(np.int64)
    if classes is not None and len(classes) != len(pixels):
        raise DataError(
            f"{labels!s} has {len(classes)} labels, {images!s} {len(pixels)} images; expected as many: "
            "they are not of the same set."
        )
    names = [f"{images.name}[{k}]" for k in range(len(pixels))]
    return Images(pixels[:, None], 256, classes, names)


def numbers_in(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes."""
    wanted = (
        f"an IDX file of unsigned bytes in {dimensions} dimension(s), magic number {0x800 + dimensions}"
    )
    try:
        with gzip.open(path, "rb") if _gzipped(path) else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != 8 or head[3] != dimensions:
                raise DataError(
                    f"{str(path)!r} begins with the bytes {head.hex(' ') or 'of an empty file'}; expected "
                    f"{wanted} ({bytes([0, 0, 8, dimensions]).hex(' ')}): it is another file, or of a "
                    "format that is not read (PNG, JPEG, .npy, .npz, IDX and CIFAR-10's are)."
                )
            sizes = tuple(int(n) for n in np.frombuffer(_exactly(file.read, 4 * dimensions), ">u4"))
            count = math.prod(sizes)
            if count > _MOST:
                raise DataError(
                    f"{str(path)!r} declares {count:,} numbers, of shape {sizes}; expected at most "
                    f"{_MOST:,}: its header is damaged."
                )
            values = np.frombuffer(_exactly(file.read, count), np.uint8)
            more = file.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{str(path)!r} is cut short or damaged ({str(error) or 'it ends too early'}); expected "
            f"{wanted}: fetch it again."
        ) from error
    if more:
        raise DataError(
            f"{str(path)!r} goes on after its {count:,} numbers of shape {sizes}; expected its end: fetch "
            "it again."
        )
    return values.reshape(sizes)


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    data = read(count)
    if len(data) < count:
        raise EOFError(f"{len(data):,} of {count:,} bytes are there")
    return data


def _gzipped(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _found(folder: Path, name: str) -> Path | None:
    """Return the file of that name, plain or gzipped, with a hyphen or a dot before idx."""
    for candidate in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            if (folder / (candidate + suffix)).is_file():
                return folder / (candidate + suffix)
    return None
