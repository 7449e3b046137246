"""Writing a file so that a crash at any moment leaves the old one or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Generator
from os import PathLike
from pathlib import Path
from typing import IO

from diffeo.errors import FileError


@contextlib.contextmanager
def write_atomically(path: str | PathLike[str]) -> Generator[IO[bytes]]:
    """Open a file aside for writing; on success flush it to disk and rename it to ``path``.

    If the block raises, or the disk is full, ``path`` is as it was and the file aside is removed. A link
    stays a link: what it points to is replaced. A file that was there keeps its permissions.

    Raises:
        FileError: the file cannot be written; what was there before is untouched.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with write_atomically(folder / "a.bin") as file:
    ...     _ = file.write(b"whole")
    >>> [p.name for p in folder.iterdir()]
    ['a.bin']
    """
    target = Path(os.path.realpath(path))
    # Two threads may write one path: each has a file aside of its own.
    aside = target.parent / f".{target.name}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        mode = _mode_of(target)
        # What lies there is of a process that is gone, or a trap: it is not written through.
        aside.unlink(missing_ok=True)
        with open(aside, "xb") as file:
            if mode is not None:
                os.chmod(aside, mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except OSError as error:
        _remove(aside)
        raise FileError(
            f"{str(path)!r} could not be written: {error.strerror or error}. "
            "What was there before is untouched; choose a folder that exists and has room."
        ) from error
    except BaseException:
        _remove(aside)
        raise
    # The rename itself reaches the disk with its folder. Windows cannot open a folder, nor needs to.
    with contextlib.suppress(OSError, AttributeError):
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _mode_of(target: Path) -> int | None:
    """Return the permissions of the file that is replaced, None if there is none."""
    try:
        found = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found):  # a rename would take the place of a folder, or of /dev/null
        raise OSError(errno.EINVAL, "it is there, and is no regular file")
    return stat.S_IMODE(found)


def _remove(aside: Path) -> None:
    # Where it could not be made, as in a folder that is none, it cannot be removed.
    with contextlib.suppress(OSError):
        aside.unlink()
