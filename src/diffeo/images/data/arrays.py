"""Images in numpy's own files, .npy and .npz, and in arrays: whole numbers in one of three layouts."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import DataError
from diffeo.images.data.images import Images

LAYOUTS = ("NCHW", "NHWC")

#: Channels that an image can have: grey, or red, green and blue.
_CHANNELS = (1, 3)

_IMAGES, _LABELS = ("x", "X", "images", "data"), ("y", "Y", "labels", "targets")

_SHAPES = "(images, height, width), (images, channels, height, width) or (images, height, width, channels)"


def from_array(
    values: NDArray[Any],
    *,
    name: str,
    levels: int | None = None,
    layout: str | None = None,
    labels: NDArray[Any] | None = None,
) -> Images:
    """Return the images in an array of whole numbers; ``name`` stands in errors and in their names."""
    pixels = _in_order(_whole(values, name), name, layout)
    known = levels if levels is not None else 2 if values.dtype == np.bool_ else 256
    given = None if labels is None else np.asarray(labels).reshape(-1)
    return Images(pixels, known, given, [f"{name}[{k}]" for k in range(len(pixels))])


def from_npy(path: Path, *, levels: int | None, layout: str | None) -> Images:
    """Return the images in an .npy file; of bytes, channels first, a map of it, read where looked at."""
    with _opened(path, mapped=True) as values:
        return from_array(values, name=path.name, levels=levels, layout=layout)


def from_npz(path: Path, *, split: str | None, levels: int | None, layout: str | None) -> Images:
    """Return the images in an .npz file, and the labels beside them."""
    with _opened(path) as archive:
        shapes = {key: _header(archive, key, path) for key in archive.files}
        key = _images_in(shapes, split, path)
        labels = _labels_beside(shapes, key)
        try:
            values = archive[key]
            classes = None if labels is None else archive[labels]
        except Exception as error:
            raise _damaged(path, error) from error
    return from_array(values, name=f"{path.name}:{key}", levels=levels, layout=layout, labels=classes)


def _whole(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    kind = values.dtype.kind
    if kind not in "biu":
        hint = (
            "numpy.rint(255 * x).astype('uint8') if they were levels over 255" if kind == "f" else "uint8"
        )
        raise DataError(
            f"{name} holds numbers of dtype {values.dtype}; expected whole pixel levels, since "
            f"probabilities are of these: pass {hint}."
        )
    if values.dtype == np.uint8 or not values.size:
        return values if isinstance(values, np.memmap) else values.astype(np.uint8)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 255:
        raise DataError(
            f"{name} holds levels from {low} to {high} ({values.dtype}); expected 0 to 255, eight bits: "
            "divide sixteen bits by 257 and round, or shift what begins below 0."
        )
    return values.astype(np.uint8)


def _in_order(values: NDArray[np.uint8], name: str, layout: str | None) -> NDArray[np.uint8]:
    """Return the images as (N, C, H, W)."""
    if values.ndim == 3:
        return values[:, None]
    if values.ndim != 4:
        raise DataError(f"{name} has shape {values.shape}; expected {_SHAPES}: reshape it.")
    first, last = values.shape[1] in _CHANNELS, values.shape[3] in _CHANNELS
    if layout is None and first and last and min(values.shape[1:]) != values.shape[2]:
        raise DataError(
            f"{name} has shape {values.shape}, which can be read in two ways; expected one: pass "
            'layout="NCHW" (channels first) or layout="NHWC" (channels last).'
        )
    chosen = layout or ("NCHW" if first else "NHWC")
    channels = values.shape[1 if chosen == "NCHW" else 3]
    if channels not in _CHANNELS:
        raise DataError(
            f"{name} has shape {values.shape}, so {channels} channels; expected 1 (grey) or 3 (colours): "
            "leave others out (alpha, say), or reshape it."
        )
    if chosen == "NCHW":
        return values
    turned = values.transpose(0, 3, 1, 2)
    return turned if isinstance(values, np.memmap) else np.ascontiguousarray(turned)


def _images_in(shapes: Mapping[str, tuple[int, ...]], split: str | None, path: Path) -> str:
    """Return the key of the images."""
    whole = () if split is not None else _IMAGES
    for key in (*(f"{prefix}_{split or 'train'}" for prefix in _IMAGES), *whole):
        if len(shapes.get(key, ())) >= 3:
            return key
    listed = ", ".join(f"{key} {shape}" for key, shape in list(shapes.items())[:8]) or "no array"
    if split is not None:
        raise DataError(
            f"{path.name} holds {listed}, and no images of the split {split!r}; expected x_{split}: name "
            "them so, or leave split out."
        )
    found = [key for key, shape in shapes.items() if len(shape) in (3, 4)]
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{path.name} holds {listed}; expected one array of images, {_SHAPES}, named x or images, or "
        "x_train and x_test: name them so."
    )


def _labels_beside(shapes: Mapping[str, tuple[int, ...]], key: str) -> str | None:
    """Return the key of the labels of the images in ``key``, or None."""
    prefix, line, rest = key.partition("_")
    count = shapes[key][0]
    suffix = f"{line}{rest}" if prefix in _IMAGES else ""
    for name in _LABELS:
        if shapes.get(name + suffix) in ((count,), (count, 1)):
            return name + suffix
    return None


@contextlib.contextmanager
def _opened(path: Path, mapped: bool = False) -> Generator[Any]:
    """Yield the array or the archive in a file, which is closed then, also where it is damaged.

    A mapped array opens it for itself, and reads what is looked at.
    """
    with open(path, "rb") as file:
        try:
            found = np.load(path if mapped else file, "r" if mapped else None, allow_pickle=False)
        except Exception as error:  # numpy tells of damage by many kinds of errors
            raise _damaged(path, error) from error
        yield found


def _header(archive: Any, key: str, path: Path) -> tuple[int, ...]:
    """Return the shape of an array of an archive, without reading its numbers."""
    try:
        with archive.zip.open(f"{key}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            return read(file)[0]
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{str(path)!r} cannot be read as numpy's file ({type(error).__name__}: {error!s:.120}); expected "
        "arrays of numbers, whole and without pickled objects: write it again with numpy.save or "
        "numpy.savez."
    )
