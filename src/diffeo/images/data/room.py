"""Room for pixels and rows: memory, or a file where there are too many."""

from __future__ import annotations

import os
import tempfile
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import FileError

#: Bytes of pixels from which they are kept in a file, which the system reads back as they are asked for.
LARGE = 2**30


def room_for(shape: tuple[int, ...], *, large: int = LARGE) -> NDArray[np.uint8]:
    """Return an array of bytes to fill: in memory, or a map of a file without a name, gone with the array.

    The file lies where the system puts what is passing (``TMPDIR``).

    Raises:
        FileError: there is no room for the file.

    >>> room_for((2, 3)).shape, type(room_for((2, 3), large=6)).__name__
    ((2, 3), 'memmap')
    """
    size = int(np.prod(shape))
    if size < large:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile(prefix="diffeo-pixels-") as file:
            reserve(file, size)
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except OSError as error:
        raise FileError(
            f"{tempfile.gettempdir()!r} cannot hold {size / 2**30:.2f} GiB of decoded images "
            f"({error.strerror}); expected that much room: set TMPDIR to a folder that has it."
        ) from error


def reserve(file: BinaryIO, size: int) -> None:
    """Take the room for ``size`` bytes now: a full disk would kill whoever writes a map later.

    Where the system has no call for it, they are written.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, 2**24):
        file.write(bytes(min(2**24, size - start)))
    file.flush()
