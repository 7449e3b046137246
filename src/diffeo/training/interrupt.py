"""SIGTERM as an orderly end: the state is saved first, then the signal takes its course."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType


@contextlib.contextmanager
def terminable(*, active: bool) -> Generator[None]:
    """Turn SIGTERM into KeyboardInterrupt inside the block, and deliver it after the block.

    Only the main thread may do so; elsewhere, and where ``active`` is false, nothing is changed.
    """
    if not active or threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)
