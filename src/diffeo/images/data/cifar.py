"""CIFAR-10 as its authors publish it: the python and the binary version, packed or not.

A batch of the python version is a pickled dictionary of 10,000 rows of 3,072 bytes and as many labels
(read by :mod:`~diffeo.images.data.pickled`, which executes nothing); one of the binary version is 10,000
times a label and 3,072 bytes. A row is red, then green, then blue, each 32 × 32.

Source: Krizhevsky, *Learning multiple layers of features from tiny images* (2009), and the page
cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.images.data.images import Images
from diffeo.images.data.pickled import plain

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_SHAPE = (3, 32, 32)
_ROW = 3 * 32 * 32

_TRAIN, _TEST = tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",)
_BATCHES: Mapping[str, tuple[str, ...]] = {"train": _TRAIN, "test": _TEST}

#: The most bytes of a batch: those published have 31 million.
_MOST = 2**27

Reader = Callable[[str], bytes | None]


def lies_in(path: Path) -> bool:
    """Return whether a folder holds batches."""
    return any((path / f"{name}{suffix}").is_file() for name in _TRAIN + _TEST for suffix in ("", ".bin"))


def is_archive(path: Path) -> bool:
    """Return whether a file is a tar archive, packed or not."""
    return path.name.endswith((".tar.gz", ".tgz", ".tar"))


def is_batch(path: Path) -> bool:
    """Return whether a file is named as a batch."""
    return path.name.removesuffix(".bin") in _TRAIN + _TEST


def split_of(path: Path) -> str | None:
    """Return the split that a batch is of, by its name."""
    name = path.name.removesuffix(".bin")
    return next((split for split, names in _BATCHES.items() if name in names), None)


def from_folder(path: Path, split: str) -> Images:
    """Return a split from a folder of batches."""

    def reader(name: str) -> bytes | None:
        file = path / name
        return _limited(file) if file.is_file() else None

    return _joined(reader, split, str(path))


def from_archive(path: Path, split: str) -> Images:
    """Return a split from an archive; nothing is unpacked to disk."""
    try:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(m.name).name: m for m in archive.getmembers() if m.isfile()}

            def reader(name: str) -> bytes | None:
                if name not in members:
                    return None
                if members[name].size > _MOST:
                    raise _too_long(name, members[name].size)
                file = archive.extractfile(members[name])
                return None if file is None else file.read()

            return _joined(reader, split, str(path))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as an archive ({str(error) or type(error).__name__:.120}): it "
            "is cut short "
            'or damaged; expected CIFAR-10\'s: fetch it again, diffeo.images.download("cifar10", folder).'
        ) from error


def from_batch(path: Path) -> Images:
    """Return the images of one batch."""
    pixels, labels = _batch(_limited(path), path.name)
    return _images(pixels, labels, [f"{path.name}[{k}]" for k in range(len(pixels))])


def _joined(reader: Reader, split: str, where: str) -> Images:
    pixels: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int64]] = []
    names: list[str] = []
    for name in _BATCHES[split]:
        data = reader(name)
        found = name if data is not None else f"{name}.bin"
        data = data if data is not None else reader(found)
        if data is None:
            raise DataError(
                f"{where!r} has no {name} or {name}.bin; expected every batch of the split {split!r}: "
                'fetch them, diffeo.images.download("cifar10", folder), or choose the other split.'
            )
        some, classes = _batch(data, found)
        pixels.append(some)
        labels.append(classes)
        names += [f"{found}[{k}]" for k in range(len(some))]
    return _images(np.concatenate(pixels), np.concatenate(labels), names)


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.int64], names: list[str]) -> Images:
    return Images(pixels.reshape(-1, *_SHAPE), 256, labels, names, CLASSES)


def _batch(data: bytes, name: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return rows of pixels, and their labels."""
    if name.endswith(".bin"):
        if not data or len(data) % (_ROW + 1):
            raise DataError(
                f"{name} has {len(data):,} bytes; expected a multiple of {_ROW + 1:,}, a label and "
                f"{_ROW:,} pixels an image: it is cut short, or another file. Fetch it again."
            )
        rows = np.frombuffer(data, np.uint8).reshape(-1, _ROW + 1)
        return rows[:, 1:], rows[:, 0].astype(np.int64)
    content = plain(data, name)
    if not isinstance(content, dict):
        raise _no_batch(name, f"a {type(content).__name__}")
    by_name: dict[Any, Any] = {
        k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in content.items()
    }
    pixels, labels = by_name.get("data"), by_name.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != _ROW:
        raise _no_batch(name, f"{getattr(pixels, 'shape', type(pixels).__name__)} as its data")
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    if not isinstance(labels, list) or not whole or len(labels) != len(pixels):
        raise _no_batch(name, f"{type(labels).__name__} as its labels, not {len(pixels)} whole numbers")
    return pixels, np.array(labels, np.int64)


def _no_batch(name: str, found: str) -> DataError:
    return DataError(
        f"{name} holds {found}; expected a batch of CIFAR-10, rows of {_ROW:,} bytes and their labels: it "
        "is another file. CIFAR-100's is not read."
    )


def _limited(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _MOST:
        raise _too_long(path.name, size)
    return path.read_bytes()


def _too_long(name: str, size: int) -> DataError:
    return DataError(
        f"{name} has {size:,} bytes; expected at most {_MOST:,}, those published have 31 million: it is "
        "another file."
    )
