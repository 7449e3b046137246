"""The outer layer of a diffeo file: tensors, one JSON object, a digest. No meaning, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffeo.errors import FileError
from diffeo.files.atomic import write_atomically

_LARGEST_HEADER = 100 * 2**20

#: safetensors' names of dtypes, with their sizes in bytes.
_SIZES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4,
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


def write(path: str | PathLike[str], tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and the JSON object ``about``, with a digest over both."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    about = {**about, "digest": _digest(plain, about)}
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    data = safetensors.torch.save(plain, metadata={"diffeo": text})
    with write_atomically(path) as file:
        file.write(data)


def read_header(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Return the JSON object and each tensor's shape; the tensors themselves are not read.

    Everything is checked against the size of the file, so that nothing is allocated on its word.
    """
    shown = repr(str(path))
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else None
            if length is None or length > min(_LARGEST_HEADER, size - 8):
                raise FileError(
                    f"{shown} is not a diffeo model file, or is cut short: "
                    f"it has {size} bytes and no complete safetensors header."
                )
            raw = file.read(length)
    except OSError as error:
        raise FileError(f"{shown} cannot be read: {error.strerror or error}.") from error
    try:
        header = json.loads(raw)
        text = header.pop("__metadata__")["diffeo"]
        about = json.loads(text)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{shown} is not a diffeo model file: its header has no readable 'diffeo' entry."
        ) from error
    if not isinstance(about, dict):
        raise FileError(f"{shown} is not a diffeo model file: its 'diffeo' entry is not an object.")
    return about, _shapes(header, size - 8 - length, shown)


def _shapes(header: dict[str, Any], room: int, shown: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        try:
            shape = tuple(int(size) for size in entry["shape"])
            start, stop = (int(offset) for offset in entry["data_offsets"])
            count = 1
            for size in shape:
                count *= size
            fits = min(shape, default=0) >= 0 and stop - start == count * _SIZES[entry["dtype"]]
        except (KeyError, TypeError, ValueError):
            fits, start, stop, shape = False, 0, 0, ()
        if not fits or not 0 <= start <= stop <= room:
            raise FileError(
                f"{shown} is damaged: tensor {name!r} does not fit in the file's {room} bytes of data."
            )
        shapes[name] = shape
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise FileError(f"{shown} is damaged: its tensors overlap or leave gaps.")
        end = stop
    if end != room:
        raise FileError(f"{shown} is damaged: {room} bytes of data where {end} were declared.")
    return shapes


def read_tensors(path: str | PathLike[str], about: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors, after checking the digest in ``about``."""
    shown = repr(str(path))
    try:
        tensors = safetensors.torch.load(Path(path).read_bytes())
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise FileError(f"{shown} is damaged: {error}.") from error
    rest = {key: value for key, value in about.items() if key != "digest"}
    if about.get("digest") != _digest(tensors, rest):
        raise FileError(
            f"{shown} was changed after it was written: its digest does not match its content. "
            "Copy it again from where it came from, or save the model again."
        )
    return tensors


def _digest(tensors: Mapping[str, Tensor], about: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
