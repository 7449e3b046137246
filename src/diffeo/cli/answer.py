"""How a command answers: facts on standard output, remarks on standard error, errors in one sentence."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Generator
from typing import Any

import typer

from diffeo.errors import UserError

#: What the system says when a device, a quota or a file-size limit is full.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Answer:
    """Where one command writes.

    Args:
        as_json: print one JSON object on standard output, everything for people on standard error.
        data_on_stdout: standard output carries data, so that the summary goes to standard error.
    """

    def __init__(self, as_json: bool, *, data_on_stdout: bool = False) -> None:
        self.as_json = as_json
        self.warnings: list[str] = []
        self._aside = as_json or data_on_stdout

    def remark(self, text: str) -> None:
        """Write a line for a person, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Write a warning, and keep it for the JSON object."""
        self.warnings.append(text)
        self.remark(f"warning: {text}")

    def give(self, facts: dict[str, Any], text: str) -> None:
        """Write the result: ``text`` for people, ``facts`` for machines."""
        print(text, file=sys.stderr if self._aside else sys.stdout, flush=True)
        if self.as_json:
            print_json({**facts, "warnings": self.warnings})


def print_json(facts: dict[str, Any]) -> None:
    """Print one JSON object on standard output; numbers that JSON lacks (NaN, ∞) are null."""
    print(json.dumps(_plain(facts), ensure_ascii=False, allow_nan=False), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def debugging() -> bool:
    """Return whether errors are to be shown with their traceback (``DIFFEO_DEBUG=1``)."""
    return os.environ.get("DIFFEO_DEBUG", "") not in ("", "0")


@contextlib.contextmanager
def answering(as_json: bool, *, data_on_stdout: bool = False) -> Generator[Answer]:
    """Run the body of a command: warnings become remarks, errors one message and an exit code.

    Exit code 2 for what the user can mend, 1 for what failed.
    """
    answer = Answer(as_json, data_on_stdout=data_on_stdout)

    def show(message: Warning | str, *rest: Any) -> None:
        answer.warn(str(message))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield answer
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if debugging():
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in _FULL:
            refuse_full(error)
            raise typer.Exit(1) from error
        code = 2 if isinstance(error, UserError) else 1
        refuse(_message(error), kind=type(error).__name__, code=code, as_json=as_json)
        raise typer.Exit(code) from error


def refuse(message: str, *, kind: str, code: int, as_json: bool) -> None:
    """Print an error: one message on standard error and, for machines, an object on standard output."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    if as_json:
        print_json({"error": {"type": kind, "message": message, "exit_code": code}})


def refuse_full(error: OSError) -> None:
    """Say that there is no room for what is written; not on standard output, which may be what is full."""
    refuse(
        f"the output could not be written: {error.strerror}. Make room, or write elsewhere (-o).",
        kind="FileError",
        code=1,
        as_json=False,
    )


def finish(code: int) -> int:
    """Write what standard output still holds, and return the exit code of the process.

    What could not be written stays in the buffer. Python would try again when it ends, fail again, and exit
    with 120 whatever the code: so it goes nowhere instead.
    """
    if sys.stdout is None:  # it was closed before Python began, and nothing was written
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        # A failed command has said why; a reader that closed its pipe has had what it wanted.
        if code == 0 and error.errno in _FULL:
            refuse_full(error)
        return code or 1
    return code


def _message(error: Exception) -> str:
    from diffeo.errors import DiffeoError

    if isinstance(error, DiffeoError | MemoryError):
        return str(error) or type(error).__name__
    return (
        f"{type(error).__name__}: {error} (this should not happen: it is a bug in diffeo; "
        "DIFFEO_DEBUG=1 shows where)"
    )
