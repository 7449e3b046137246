"""How likely held-out rows are: nats a row with its error, beside other densities of the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffeo.diagnostics.fit.finding import Finding, axes, log_densities
from diffeo.errors import ShapeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Beside:
    """Another density of the same rows.

    Attributes:
        name: what it is.
        nats: its mean log p.
        error: its standard error.
        ahead: by how much the model is ahead, the mean of the paired differences.
        ahead_error: its standard error; the spread of the rows themselves cancels in pairs.
    """

    name: str
    nats: float
    error: float
    ahead: float
    ahead_error: float


@dataclass(frozen=True)
class HeldOut(Finding):
    """Mean log p of rows that took no part in the fit.

    Attributes:
        nats: the mean log p, in nats a row, over the rows that the model holds possible.
        error: its standard error.
        rows: how many rows there are.
        impossible: rows of density 0 (a category never seen, a number beyond a bound).
        beside: other densities of the same rows.
    """

    nats: float
    error: float
    rows: int
    impossible: int
    beside: tuple[Beside, ...]

    def in_words(self) -> str:
        """Return the figures in sentences."""
        said = f"{self.rows:,} held-out rows have {self.nats:.3f} ± {self.error:.3f} nats a row."
        if self.impossible:
            said += (
                f" {self.impossible} of them the model holds impossible (density 0); they are left out "
                f"of the mean."
            )
        if not self.beside:
            return said
        best = max(self.beside, key=_nats)
        gap, spread = best.ahead, best.ahead_error
        if abs(gap) <= 2 * spread:
            return (
                f"{said} The best of the simple densities ({best.name}) cannot be told from it "
                f"({gap:+.3f} ± {spread:.3f})."
            )
        which = "ahead of" if gap > 0 else "behind"
        return (
            f"{said} That is {abs(gap):.3f} ± {spread:.3f} {which} the best of the simple densities "
            f"({best.name})."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw nats with two standard errors."""
        ax = axes(ax)
        rows = [("this model", self.nats, self.error), *((b.name, b.nats, b.error) for b in self.beside)]
        for k, (name, nats, error) in enumerate(rows):
            ax.errorbar(
                nats, k, xerr=2 * error, fmt="o", color="#c1440e" if k == 0 else "#1d3557", label=name
            )
        ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        ax.invert_yaxis()
        ax.set_xlabel("nats a row, ± 2 standard errors")
        return ax


def held_out(log_p: object, beside: Mapping[str, object] | None = None) -> HeldOut:
    """Return mean log p of held-out rows and its standard error, beside other densities.

    Args:
        log_p: log p of each row under the model, (rows,), in nats.
        beside: name → log p of the same rows under another density.

    Raises:
        ShapeError, DataError: these are not one number a row.

    >>> print(held_out([-1.0, -2.0, -1.5, -1.5], {"Gaussian": [-2.0, -3.0, -2.5, -2.5]}))
    4 held-out rows have -1.500 ± 0.204 nats a row. That is 1.000 ± 0.000 ahead of the best of ...
    """
    own = log_densities("log_p", log_p)
    possible = np.isfinite(own)
    nats, error = _mean(own[possible])
    others: list[Beside] = []
    for name, given in (beside or {}).items():
        other = log_densities(f"beside[{name!r}]", given)
        if other.shape != own.shape:
            raise ShapeError(
                f"beside[{name!r}] has {len(other)} rows; expected {len(own)}, those of log_p."
            )
        both = possible & np.isfinite(other)
        others.append(Beside(name, *_mean(other[both]), *_mean(own[both] - other[both])))
    return HeldOut(nats, error, len(own), int((~possible).sum()), tuple(others))


def _mean(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return float("-inf"), float("nan")
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5) if len(
        values
    ) > 1 else float("nan")


def _nats(other: Beside) -> float:
    return other.nats


@dataclass(frozen=True)
class Gap(Finding):
    """By how much rows that were trained on are likelier than rows that were not.

    Attributes:
        gap: mean log p of training rows − mean log p of held-out rows, in nats a row.
        error: its standard error.
        p: of a gap as large by chance (two-sided Welch test).
    """

    gap: float
    error: float
    p: float

    def in_words(self) -> str:
        """Return the figures in a sentence."""
        said = (
            f"Training rows are {self.gap:+.3f} ± {self.error:.3f} nats a row likelier than held-out rows"
        )
        if self.gap > 2 * self.error:
            return f"{said}: the model knows its training rows better than others (over-fitting)."
        if self.gap < -2 * self.error:
            return f"{said}: held-out rows are easier than the training rows; they may come from elsewhere."
        return f"{said}: no over-fitting can be seen."

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the gap with two standard errors."""
        ax = axes(ax)
        ax.errorbar(self.gap, 0, xerr=2 * self.error, fmt="o", color="#c1440e")
        ax.axvline(0, color="#8d99ae", lw=1)
        ax.set_yticks([])
        ax.set_xlabel("training − held out, nats a row (± 2 s.e.)")
        return ax


def overfitting_gap(train_log_p: object, held_log_p: object) -> Gap:
    """Return how much likelier training rows are than held-out rows, under one model.

    >>> draws = np.random.default_rng(0)
    >>> overfitting_gap(draws.normal(size=500), draws.normal(size=500)).p > 0.05
    True
    """
    from scipy.special import ndtr

    train, held = log_densities("train_log_p", train_log_p), log_densities("held_log_p", held_log_p)
    (a, ea), (b, eb) = _mean(train[np.isfinite(train)]), _mean(held[np.isfinite(held)])
    error = float(np.hypot(ea, eb))
    gap = a - b
    p = 2 * float(ndtr(-abs(gap) / error)) if error > 0 else float(gap == 0)
    return Gap(gap, error, p)
