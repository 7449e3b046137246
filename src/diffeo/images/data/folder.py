"""Folders of PNG and JPEG files, by Pillow; sub-folders are classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, DataError
from diffeo.images.data.images import Images
from diffeo.images.data.room import room_for

_SUFFIXES = (".png", ".jpg", ".jpeg")

#: Pillow's names of what can be read as it is, with the channels.
_MODES = {"L": 1, "RGB": 3}

#: What to do about the others.
_REMEDIES = {
    "RGBA": "an alpha channel: flatten it onto a background, as image.convert('RGB') does onto black",
    "LA": "an alpha channel: flatten it, as image.convert('L') does onto black",
    "PA": "a palette with alpha: convert it with image.convert('RGB')",
    "P": "a palette: convert it with image.convert('RGB')",
    "1": "one bit: convert it with image.convert('L')",
    "I": "16 bits or more a pixel: reduce it to 8, and rescale",
    "F": "floating numbers: reduce them to 8 bits",
    "CMYK": "four inks: convert it with image.convert('RGB')",
}


def is_image(path: Path) -> bool:
    """Return whether a file is named as a PNG or JPEG."""
    return path.suffix.lower() in _SUFFIXES


def from_folder(root: Path) -> Images:
    """Return all images of a folder, in the order of their names; a sub-folder is a class."""
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    loose = _images_of(root)
    inside = {f.name: _images_of(f) for f in folders}
    inside = {name: files for name, files in inside.items() if files}
    if loose and inside:
        raise DataError(
            f"{str(root)!r} has {len(loose)} image(s) beside {len(inside)} sub-folder(s) with images; "
            "expected one or the other, since a sub-folder is a class: move the loose ones into one."
        )
    if not loose and not inside:
        others = sum(1 for f in root.iterdir() if f.is_file())
        raise DataError(
            f"{str(root)!r} has no PNG or JPEG in it or in its sub-folders ({others} other file(s)); "
            "expected a folder of .png, .jpg or .jpeg: choose another, or convert the images."
        )
    if loose:
        return from_files(loose, root)
    files = [file for group in inside.values() for file in group]
    labels = np.repeat(np.arange(len(inside)), [len(group) for group in inside.values()])
    return from_files(files, root, labels, list(inside))


def from_files(
    files: Sequence[Path],
    root: Path,
    labels: NDArray[Any] | None = None,
    classes: Sequence[str] = (),
) -> Images:
    """Return the images of these files, all of one size and number of channels."""
    names = [file.relative_to(root).as_posix() for file in files]
    first = _pixels_of(files[0])
    pixels = room_for((len(files), *first.shape))
    pixels[0] = first
    for k, file in enumerate(files[1:], start=1):
        found = _pixels_of(file)
        if found.shape != first.shape:
            raise DataError(
                f"{names[k]!r} is {_size(found)}, {names[0]!r} is {_size(first)}; expected images of one "
                "size and number of channels: resize or convert them, or leave the others out."
            )
        pixels[k] = found
    return Images(pixels, 256, labels, names, classes)


def _images_of(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.is_file() and is_image(f) and not f.name.startswith("."))


def _size(pixels: NDArray[np.uint8]) -> str:
    channels, height, width = pixels.shape
    return f"{width} × {height} pixels in {'grey' if channels == 1 else 'colour'}"


def _pixels_of(path: Path) -> NDArray[np.uint8]:
    """Return (C, H, W) of one file, or say what is wrong with it."""
    image_module = pillow()
    try:
        with image_module.open(path, formats=("PNG", "JPEG")) as image:
            mode = str(image.mode)
            if mode not in _MODES or "transparency" in image.info:
                remedy = _REMEDIES.get(
                    mode, _REMEDIES["I"] if mode.startswith("I") else "another colour model"
                )
                if mode in _MODES:
                    remedy = "a transparent colour: flatten it, and save it without"
                raise DataError(
                    f"{str(path)!r} has {remedy} (it is of mode {mode}); expected 8-bit grey or RGB."
                )
            _check_depth(path)
            values = np.asarray(image, dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow tells of damage by OSError, SyntaxError, ValueError and others
        raise DataError(
            f"{str(path)!r} cannot be read as a PNG or JPEG ({str(error) or type(error).__name__:.120}): "
            "it is cut short, damaged or of another format. Leave it out, or make it again."
        ) from error
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _check_depth(path: Path) -> None:
    """Raise for a PNG of other than eight bits, by its header: Pillow would cut or stretch them."""
    with open(path, "rb") as file:
        head = file.read(26)
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 26 or head[24] == 8:
        return
    remedy = (
        "reduce it to 8, and rescale"
        if head[24] == 16
        else f"its {2 ** head[24]} levels would be spread over 256: pass them as an array, with "
        f"levels={2 ** head[24]}"
    )
    raise DataError(f"{str(path)!r} has {head[24]} bits a channel; expected 8-bit grey or RGB: {remedy}.")


def pillow() -> Any:
    """Return Pillow's module of images, or say how to have it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ConfigError(
            "PNG and JPEG are read by Pillow, which is not installed; expected it: pip install "
            "'diffeo[images]'."
        ) from error
    return Image
