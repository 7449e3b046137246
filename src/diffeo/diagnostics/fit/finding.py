"""What a diagnostic found: figures that say themselves in words, go into JSON and can be drawn."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Rounding in sentences goes by this: what is rarer than that by chance is said to be found.
LEVEL = 0.01


@dataclass(frozen=True)
class Finding:
    """The root of all results: a subclass has figures as fields, and says them in :meth:`in_words`."""

    def in_words(self) -> str:
        """Return what was found, in sentences that claim no more than the figures show."""
        raise NotImplementedError  # abstract

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the figures into ``ax``, or into axes of their own; return the axes."""
        raise NotImplementedError  # abstract

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; a number that is not finite is None."""
        fields = {field.name: plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return {**fields, "words": self.in_words()}

    def __str__(self) -> str:
        return self.in_words()

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.in_words())}</p>"


def plain(value: Any) -> Any:
    """Return a value as JSON takes it.

    >>> plain({"a": np.array([1.0, np.nan]), "b": (np.int64(3), "x")})
    {'a': [1.0, None], 'b': [3, 'x']}
    """
    if isinstance(value, Finding):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def axes(ax: Axes | None) -> Axes:
    """Return ``ax``, or axes of a picture of their own."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(5.2, 3.8), layout="constrained").subplots()


def said_p(p: float) -> str:
    """Return a p-value as sentences have it.

    >>> said_p(0.00001), said_p(0.0234), said_p(0.3)
    ('p < 0.001', 'p = 0.023', 'p = 0.30')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.095 else f"p = {p:.2f}"


def log_densities(name: str, given: object) -> NDArray[np.float64]:
    """Return log-densities of rows as an array without NaN, or raise.

    Raises:
        ShapeError: they are not one number a row.
        DataError: there is no row, or one has NaN.
    """
    from diffeo.errors import DataError, ShapeError

    found = np.asarray(given, dtype=np.float64)
    if found.ndim != 1:
        raise ShapeError(f"{name} has shape {found.shape}; expected (rows,): one log-density a row.")
    if not len(found) or np.isnan(found).any():
        what = "no row" if not len(found) else f"{int(np.isnan(found).sum())} row(s) with NaN"
        raise DataError(f"{name} has {what}; expected log-densities of rows: leave such rows out.")
    return found


def numbers(name: str, given: object, dimensions: int) -> NDArray[np.float64]:
    """Return finite numbers of so many dimensions, or raise ShapeError or DataError."""
    from diffeo.errors import DataError, ShapeError

    found = np.asarray(given, dtype=np.float64)
    if found.ndim != dimensions or 0 in found.shape:
        raise ShapeError(
            f"{name} has shape {found.shape}; expected {dimensions} dimension(s), none of them empty."
        )
    if not np.isfinite(found).all():
        raise DataError(f"{name} has NaN or infinite values; expected finite numbers: leave such rows out.")
    return found


def names_for(names: object, count: int) -> tuple[str, ...]:
    """Return the names of columns, x0, x1, … where none are given; raise ConfigError for another number."""
    from diffeo.errors import ConfigError

    if names is None:
        return tuple(f"x{k}" for k in range(count))
    found = tuple(str(name) for name in names)  # pyright: ignore[reportGeneralTypeIssues]
    if len(found) != count:
        raise ConfigError(f"columns has {len(found)} names; expected {count}, one for each column.")
    return found
