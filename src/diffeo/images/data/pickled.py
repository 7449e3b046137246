"""A pickle of arrays of bytes, read without executing anything.

A pickle is a program that may call whatever it can name. Here it can name four things, none of which is
what it says: stand-ins for numpy's ``_reconstruct``, ``ndarray`` and ``dtype`` that only keep what they are
given, and one for ``_codecs.encode`` that only makes bytes. Any other name ends the reading. An array is
then made here, of unsigned bytes, if what was kept describes one.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np

from diffeo.errors import DataError


def plain(data: bytes, name: str) -> Any:
    """Return what a pickle of dictionaries, lists, numbers, text and arrays of unsigned bytes holds.

    Raises:
        DataError: it is damaged, or names anything else; nothing has been executed then.

    >>> plain(pickle.dumps({"data": [1, 2]}), "batch")
    {'data': [1, 2]}
    """
    try:
        return _made(_Reader(io.BytesIO(data), encoding="bytes").load())
    except DataError as error:
        raise DataError(f"{name} {error}") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise DataError(
            f"{name} is no pickle that can be read ({type(error).__name__}: {error!s:.100}): it is cut "
            "short, damaged or another file. Fetch it again."
        ) from error


class _Dtype:
    """Keeps the name of a type."""

    def __init__(self, *arguments: Any) -> None:
        self.name = arguments[0] if arguments else None

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which bytes have none of."""


class _Array:
    """Keeps the state of an array."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(*arguments: Any) -> _Array:
    return _Array()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise DataError(
            "encodes something else than Latin-1 text; expected plain bytes: it is another file."
        )
    return text.encode("latin1")


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encoded,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise DataError(
                f"asks for {module}.{name:.60}, which a batch of images has no need of; it was not "
                "executed. Do not use this file: fetch it again from its publisher."
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise DataError(
            "refers to objects outside of itself; expected a batch of images: it is another file."
        )


def _made(value: Any) -> Any:
    """Return ``value`` with the arrays that its stand-ins describe."""
    if isinstance(value, dict):
        return {key: _made(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, _Array):
        return value
    state = value.state
    if isinstance(state, tuple) and len(state) == 5:
        _, shape, dtype, by_column, content = state
        sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
        unsigned = isinstance(dtype, _Dtype) and dtype.name in ("u1", b"u1")
        if sizes and unsigned and isinstance(content, bytes) and len(content) == math.prod(shape):
            return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C")
    raise DataError("holds an array that is not of unsigned bytes; expected pixels: it is another file.")
