"""Faults on purpose: a process that is killed, or a disk that fails, at the n-th step of a save."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Generator
from typing import IO, Any
from unittest import mock

from diffeo.files import atomic

Fault = Callable[[], None]


def kill() -> None:
    """End this process as ``kill -9`` does: nothing is flushed, closed or cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_space() -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def io_error() -> None:
    """Fail as a broken disk does."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class _Boundaries:
    """Counts the operations of a save, and raises the fault before the one that was chosen."""

    def __init__(self, at: int, fault: Fault) -> None:
        self.at, self.fault, self.passed = at, fault, 0

    def step(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            self.fault()


class _File:
    """A file whose every write is two: a fault between them leaves half of it on the disk."""

    def __init__(self, file: IO[bytes], boundaries: _Boundaries) -> None:
        self._file, self._boundaries = file, boundaries

    def write(self, data: bytes) -> int:
        half = len(data) // 2
        self._boundaries.step()
        self._file.write(data[:half])
        self._file.flush()
        self._boundaries.step()
        return half + self._file.write(data[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *details: object) -> None:
        self._file.close()


class _System:
    """The ``os`` module with a boundary before each fsync and each rename."""

    def __init__(self, boundaries: _Boundaries) -> None:
        self._boundaries = boundaries

    def fsync(self, number: int) -> None:
        self._boundaries.step()
        os.fsync(number)

    def replace(self, source: Any, target: Any) -> None:
        self._boundaries.step()
        os.replace(source, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


#: Boundaries that one save passes: open, write, mid-write, fsync, rename, fsync of the folder.
BOUNDARIES_A_SAVE = 6


@contextlib.contextmanager
def fault_at(boundary: int, fault: Fault) -> Generator[Callable[[], int]]:
    """Raise ``fault`` before the ``boundary``-th operation (from 1) of the saves made in the block.

    Gives a function that returns how many operations have passed.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from diffeo.files import write_atomically
    >>> path = Path(tempfile.mkdtemp()) / "a.bin"
    >>> with fault_at(0, kill) as passed, write_atomically(path) as file:
    ...     _ = file.write(b"whole")
    >>> passed() == BOUNDARIES_A_SAVE
    True
    """
    boundaries = _Boundaries(boundary, fault)

    def opened(path: Any, mode: str) -> _File:
        boundaries.step()
        return _File(open(path, mode), boundaries)

    with (
        mock.patch.object(atomic, "os", _System(boundaries)),
        mock.patch.object(atomic, "open", opened, create=True),
    ):
        yield lambda: boundaries.passed
