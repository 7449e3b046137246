"""Writing a file so that a crash at any moment leaves the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from os import PathLike
from pathlib import Path
from typing import IO

from diffeo.errors import FileError


@contextlib.contextmanager
def write_atomically(path: str | PathLike[str]) -> Generator[IO[bytes]]:
    """Open a file aside for writing; on success flush it to disk and rename it to ``path``.

    If the block raises, or the disk is full, ``path`` is as it was and the file aside is removed.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with write_atomically(folder / "a.bin") as file:
    ...     _ = file.write(b"whole")
    >>> [p.name for p in folder.iterdir()]
    ['a.bin']
    """
    target = Path(path)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise FileError(
            f"{str(target)!r} could not be written: {error.strerror or error}. "
            "What was there before is untouched; choose a folder that exists and has room."
        ) from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    # The rename itself reaches the disk with its folder. Windows cannot open a folder, nor needs to.
    with contextlib.suppress(OSError, AttributeError):
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
