"""The judge: each outcome is right, or it is said what is wrong with it."""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import dataclass
from typing import Any

from diffeo.errors import ConfigError, DiffeoError, FileError
from diffeo.testing.hostile.entry import Answers, Entry, Refuses

#: Seconds after which a call counts as hanging.
HANG = 10.0

#: What says what was expected.
_EXPECTATION = re.compile(
    r"\b(expected|must|needs?|has to|requires?|at least|reads formats up to|is not a (column|file)|"
    r"are matched by name)\b"
)

#: What says what to do: an action of the caller's …
_ACTION = re.compile(
    r"\b(pass|leave|give|use|call|build|drop|convert|choose|save|reshape|copy|mend|close|name|turn|upgrade|"
    r"import|write|put|set|lower|change|make|check|fit|train|sample with|did you mean|load|install|encode|"
    r"end|register|add|goes in as|there)\b",
    re.IGNORECASE,
)

#: … or, for a value of an option, the values that can be typed in its place.
_ALLOWED = re.compile(r"\b(must|expected)\b.{3,}", re.DOTALL)


@dataclass(frozen=True)
class Verdict:
    """What came of an entry.

    Attributes:
        entry: the entry.
        wrong: what is wrong with the outcome, or "".
        message: the message of the DiffeoError that was raised, or "".
        unclear: what the message lacks, or "".
        seconds: how long the call took.
    """

    entry: Entry
    wrong: str
    message: str = ""
    unclear: str = ""
    seconds: float = 0.0


def judge(entry: Entry) -> Verdict:
    """Make the call of an entry and judge its outcome.

    >>> right = Entry("1 + 1", "numbers", "".isdigit, Answers(lambda found: "" if found is False else "no"))
    >>> judge(right).wrong
    ''
    """
    result: Any = None
    raised: Exception | None = None
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            result = entry.call()
        except Exception as error:  # whatever a hostile input brings about is what is judged
            raised = error
    seconds = time.perf_counter() - begun
    message = str(raised) if isinstance(raised, DiffeoError) else ""
    unclear = ""
    if raised is not None and message:
        unclear = lacks(raised, entry.oracle if isinstance(entry.oracle, Refuses) else None)
    wrong = f"took {seconds:.1f} s" if seconds > HANG else ""
    wrong = wrong or _outcome(entry, result, raised) or _loud(entry, noted)
    return Verdict(entry, wrong, message, unclear, seconds)


def _outcome(entry: Entry, result: Any, raised: Exception | None) -> str:
    if raised is not None and not isinstance(raised, DiffeoError):
        return f"raised a bare {type(raised).__name__}: {_short(raised)}"
    if isinstance(entry.oracle, Refuses):
        if raised is None:
            return f"was accepted, with the result {_short(result)}"
        return ""
    if raised is not None:
        return f"was refused ({type(raised).__name__}: {_short(raised)})"
    try:
        return entry.oracle.complaint(result)
    except Exception as error:  # a result of another kind than the oracle knows is not right
        return f"gave what cannot be checked ({type(error).__name__}: {_short(error)})"


def _loud(entry: Entry, noted: list[warnings.WarningMessage]) -> str:
    allowed = entry.oracle.warns if isinstance(entry.oracle, Answers) else ""
    for warning in noted:
        # A refused call may have warned before; what it must not do is warn in other libraries' words.
        ours = issubclass(warning.category, UserWarning) and isinstance(entry.oracle, Refuses)
        if not ours and not (allowed and re.search(allowed, str(warning.message))):
            return f"warned: {warning.category.__name__}: {_short(warning.message)}"
    return ""


def lacks(error: Exception, wanted: Refuses | None) -> str:
    """Return what an error's message lacks: the argument, what was received, expected, or a remedy.

    >>> lacks(ConfigError("hidden=-1 must be a sequence of positive integers."), Refuses("hidden", "-1"))
    ''
    >>> lacks(ConfigError("hidden is wrong."), Refuses("hidden", "-1"))
    'what was received (-1), an expectation, a remedy'
    """
    message, missing = str(error), list[str]()
    if wanted is not None:
        if not re.search(wanted.argument, message):
            missing.append(f"the argument ({wanted.argument})")
        if not re.search(wanted.received, message):
            missing.append(f"what was received ({wanted.received})")
    # Of a file, the remedy says what was expected: "Give the path of a file that diffeo wrote."
    if not _EXPECTATION.search(message) and not isinstance(error, FileError):
        missing.append("an expectation")
    remedy = _ACTION.search(message) or (isinstance(error, ConfigError) and _ALLOWED.search(message))
    if not remedy:
        missing.append("a remedy")
    return ", ".join(missing)


def _short(value: object) -> str:
    return " ".join(str(value).split())[:160]
