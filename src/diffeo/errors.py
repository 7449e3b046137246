"""Every error diffeo raises on purpose.

::

    DiffeoError
    ├── UserError                something the caller can mend
    │   ├── ConfigError            an argument has a value that is not allowed      (ValueError)
    │   ├── ShapeError             a tensor has the wrong shape                     (ValueError)
    │   ├── DtypeError             a tensor has the wrong dtype or device           (TypeError)
    │   ├── DataError              a table, column or row cannot be used            (ValueError)
    │   └── FileError              a model file cannot be read or written           (ValueError)
    │       └── UnknownKindError     it names a part that is not registered here
    └── TrainingError            the optimisation could not go on                 (RuntimeError)

A message names the argument or column, what was given, what was expected and what to do.
Anything else that escapes from diffeo is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def at_least(argument: str, given: float, least: float) -> None:
    """Raise :class:`ConfigError` unless ``given`` is a number of at least ``least``."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= least:
        raise ConfigError(f"{argument}={given!r} must be a number of at least {least}.")
