"""What an entry of the catalogue is: a hostile call, and what its right outcome would be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answers:
    """The call must return; ``complaint(result)`` says what is wrong with what it returned, or "".

    Attributes:
        complaint: the check of the result.
        warns: a regular expression that warnings of the call must match; "" where none is expected.
    """

    complaint: Callable[[Any], str]
    warns: str = ""


@dataclass(frozen=True)
class Refuses:
    """The call must raise a DiffeoError that says what is wrong.

    Attributes:
        argument: the argument, column or file that the message must name (a regular expression).
        received: what the message must repeat of what was given (a regular expression).
    """

    argument: str
    received: str


@dataclass(frozen=True)
class Entry:
    """One hostile input.

    Attributes:
        name: what is hostile, and where it is given.
        group: "numbers", "arrays", "arguments" or "tables".
        call: makes the call, without arguments.
        oracle: what must come of it.
    """

    name: str
    group: str
    call: Callable[[], Any]
    oracle: Answers | Refuses
