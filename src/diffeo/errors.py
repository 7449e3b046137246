"""Every error diffeo raises on purpose.

::

    DiffeoError
    ├── UserError                something the caller can mend
    │   ├── ConfigError            an argument has a value that is not allowed      (ValueError)
    │   ├── ShapeError             a tensor has the wrong shape                     (ValueError)
    │   ├── DtypeError             a tensor has the wrong dtype or device           (TypeError)
    │   ├── DataError              a table, column or row cannot be used            (ValueError)
    │   │   └── RowError             it names a row
    │   ├── NoDensityError         a model that has no density was asked for it     (TypeError)
    │   └── FileError              a model file cannot be read or written           (ValueError)
    │       └── UnknownKindError     it names a part that is not registered here
    └── TrainingError            the optimisation could not go on                 (RuntimeError)

A message names the argument or column, what was given, what was expected and what to do.
Anything else that escapes from diffeo is a bug.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from typing import Any


class DiffeoError(Exception):
    """The root of every error that diffeo raises on purpose."""


class UserError(DiffeoError):
    """Something the caller can mend."""


class ConfigError(UserError, ValueError):
    """An argument has a value that is not allowed."""


class ShapeError(UserError, ValueError):
    """A tensor has the wrong shape."""


class DtypeError(UserError, TypeError):
    """A tensor has the wrong dtype, or lives on the wrong device."""


class DataError(UserError, ValueError):
    """A table, a column or a row cannot be used."""


class RowError(DataError):
    """A row cannot be used: where rows were left out before it, its number can be told anew.

    >>> print(RowError("there is no number in row ", 2, "."))
    there is no number in row 2.
    """

    def __init__(self, before: str, row: int, after: str) -> None:
        super().__init__(before, row, after)
        self.row = row

    def __str__(self) -> str:
        """Return the message, with the number of the row in it."""
        return "".join(str(part) for part in self.args)

    def renumbered(self, row: int) -> RowError:
        """Return the error with another number of its row."""
        return RowError(self.args[0], row, self.args[2])


class NoDensityError(UserError, TypeError):
    """A model that draws samples without a density was asked for log p(x)."""


class FileError(UserError, ValueError):
    """A model file cannot be read or written."""


class UnknownKindError(FileError):
    """A model file names a part that is not registered in this process."""


class TrainingError(DiffeoError, RuntimeError):
    """The optimisation could not go on."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string.

    >>> did_you_mean("silo", ["silu", "relu"])
    " Did you mean 'silu'?"
    >>> did_you_mean("zebra", ["silu", "relu"])
    ''
    """
    # The time that difflib takes grows with the square of the length.
    near = difflib.get_close_matches(name, list(known), n=1) if len(name) <= 100 else []
    return f" Did you mean {near[0]!r}?" if near else ""


def one_of(argument: str, given: str, allowed: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``given`` is one of ``allowed``."""
    options = list(allowed)
    if given not in options:
        listed = ", ".join(repr(option) for option in options)
        raise ConfigError(
            f"{argument}={given!r:.100} is not known; expected one of {listed}."
            f"{did_you_mean(str(given), options)}"
        )


def at_least(argument: str, given: object, least: int, *, optional: bool = False) -> None:
    """Raise :class:`ConfigError` unless ``given`` is a whole number of at least ``least`` (or None)."""
    if optional and given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        alternative = ", or None" if optional else ""
        raise ConfigError(f"{argument}={given!r} must be a whole number of at least {least}{alternative}.")


def number(
    argument: str,
    given: Any,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    optional: bool = False,
) -> None:
    """Raise :class:`ConfigError` unless ``given`` is a finite number within these bounds (or None).

    >>> number("warmup", 0.05, least=0, below=1)
    >>> number("warmup", "a lot", least=0, below=1)
    Traceback (most recent call last):
    diffeo.errors.ConfigError: warmup='a lot' must be a finite number of at least 0 and below 1.
    """
    if optional and given is None:
        return
    real = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    if not real or not least <= given <= most or not above < given < below:
        bounds = [f"of at least {least:g}"] if least > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        bounds += [f"at most {most:g}"] if most < math.inf else []
        text = "a finite number" + (f" {' and '.join(bounds)}" if bounds else "")
        raise ConfigError(f"{argument}={given!r} must be {text}{', or None' if optional else ''}.")


def flag(argument: str, given: object) -> None:
    """Raise :class:`ConfigError` unless ``given`` is True or False."""
    if not isinstance(given, bool):
        raise ConfigError(f"{argument}={given!r} must be True or False.")


def a_path(argument: str, given: object) -> None:
    """Raise :class:`ConfigError` unless ``given`` is the path of a file: an open file's number is none."""
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(
            f"{argument} is a {type(given).__name__}; expected the path of a file: pass text or a Path."
        )


def a_part(argument: str, given: object, kind: type, example: str) -> None:
    """Raise :class:`ConfigError` unless ``given`` is a ``kind``, a part such as ``example``."""
    if not isinstance(given, kind):
        found = f"the class {given.__name__}" if isinstance(given, type) else f"a {type(given).__name__}"
        raise ConfigError(
            f"{argument} is {found}; expected a diffeo {kind.__name__}: pass one, as {example}."
        )
