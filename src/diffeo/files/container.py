"""The outer layer of a diffeo file: tensors, one JSON object, a digest. No meaning, no pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import stat
import struct
from collections.abc import Generator, Mapping
from os import PathLike
from typing import IO, Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffeo.errors import ConfigError, FileError
from diffeo.files.atomic import write_atomically

#: A header becomes some thirty times its size in Python's memory.
_LARGEST_HEADER = 16 * 2**20

#: Dimensions that a tensor may have: numpy's limit, and more than anyone's.
_MOST_DIMENSIONS = 64

#: The dtypes that a file can hold, by safetensors' names.
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

_REMEDY = "Give the path of a file that diffeo wrote, or copy it again from where it came from."


def write(path: str | PathLike[str], tensors: Mapping[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors and the JSON object ``about``, with a digest over both.

    Raises:
        ConfigError: a tensor or ``about`` is something that a file cannot hold.
        FileError: the file cannot be written; what was there before is untouched.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES.values():
            raise ConfigError(
                f"{name!r} has dtype {tensor.dtype}, which a model file cannot hold; expected a real "
                "floating, an integer or a boolean dtype."
            )
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        about = {**about, "digest": _digest(plain, about)}
    except ValueError as error:
        raise ConfigError(f"an argument of a part is no number that a file can hold: {error}.") from error
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    data = safetensors.torch.save(plain, metadata={"diffeo": text})
    length = struct.unpack("<Q", data[:8])[0]
    if length > _LARGEST_HEADER:
        raise ConfigError(
            f"the description of the model has {length} bytes; a file holds up to {_LARGEST_HEADER}. "
            "Keep large arrays in buffers or parameters, not in arguments or extra."
        )
    with write_atomically(path) as file:
        file.write(data)


@contextlib.contextmanager
def opened(path: str | PathLike[str]) -> Generator[IO[bytes]]:
    """Open a file for :func:`header_of` and :func:`tensors_of`: both see one file, also if it is replaced.

    Raises:
        FileError: there is no such file, it may not be read, or it is a folder, pipe or device.
    """
    with _reading(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FileError(f"{str(path)!r} is not a regular file. {_REMEDY}")
        file = open(path, "rb")  # noqa: SIM115 - closed below, out of reach of the errors of reading
    with file:
        yield file


@contextlib.contextmanager
def _reading(path: Any) -> Generator[None]:
    try:
        yield
    except FileError:
        raise
    except (OSError, ValueError) as error:  # ValueError: the path has a zero byte
        reason = getattr(error, "strerror", None) or error
        raise FileError(
            f"{str(path)!r} cannot be read: {reason}. Check the path and its permissions."
        ) from error


def read_header(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Return the JSON object and each tensor's shape; the tensors themselves are not read."""
    with opened(path) as file:
        return header_of(file)


def read_tensors(path: str | PathLike[str], about: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors, after checking the digest in ``about``."""
    with opened(path) as file:
        return tensors_of(file, about)


def header_of(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Return the JSON object and each tensor's shape of an open file.

    Everything is checked against the size of the file, so that nothing is allocated on its word.
    """
    shown = repr(str(file.name))
    with _reading(file.name):
        size = os.fstat(file.fileno()).st_size
        file.seek(0)
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else None
        if length is None or length > min(_LARGEST_HEADER, size - 8):
            raise FileError(
                f"{shown} is not a diffeo model file, or is cut short: it has {size} bytes and no complete "
                f"safetensors header. {_REMEDY}"
            )
        raw = file.read(length)
    try:
        header = _parsed(raw.decode("utf-8"))
        about = _parsed(header.pop("__metadata__")["diffeo"])
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise FileError(
            f"{shown} is not a diffeo model file: its header has no readable 'diffeo' entry. {_REMEDY}"
        ) from error
    if not isinstance(about, dict):
        raise FileError(
            f"{shown} is not a diffeo model file: its 'diffeo' entry is not an object. {_REMEDY}"
        )
    return about, _shapes(header, size - 8 - length, shown)


def _parsed(text: str) -> Any:
    """Return JSON as the standard has it, which Python's own reader is laxer than."""
    return json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _shapes(header: dict[str, Any], room: int, shown: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        try:
            shape, (start, stop) = entry["shape"], entry["data_offsets"]
            whole = all(type(number) is int for number in (*shape, start, stop))
            fits = whole and len(shape) <= _MOST_DIMENSIONS and min(shape, default=0) >= 0
            fits = fits and stop - start == math.prod(shape) * _DTYPES[entry["dtype"]].itemsize
        except (KeyError, TypeError, ValueError):
            fits, start, stop, shape = False, 0, 0, ()
        if not fits or not 0 <= start <= stop <= room:
            raise FileError(
                f"{shown} is damaged: tensor {name!r:.80} does not fit in the file's {room} bytes of data. "
                f"{_REMEDY}"
            )
        shapes[name] = tuple(shape)
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise FileError(f"{shown} is damaged: its tensors overlap or leave gaps. {_REMEDY}")
        end = stop
    if end != room:
        raise FileError(f"{shown} is damaged: {room} bytes of data where {end} were declared. {_REMEDY}")
    return shapes


def tensors_of(file: IO[bytes], about: dict[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of an open file, after checking the digest in ``about``."""
    shown = repr(str(file.name))
    with _reading(file.name):
        file.seek(0)
        data = file.read()
    rest = {key: value for key, value in about.items() if key != "digest"}
    try:
        tensors = safetensors.torch.load(data)
        same = about.get("digest") == _digest(tensors, rest)
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise FileError(f"{shown} is damaged: {error}. {_REMEDY}") from error
    if not same:
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
