"""Probability integral transforms: F(xⱼ | columns before it) of each column is uniform where the model is.

Source: Rosenblatt, *Remarks on a multivariate transformation* (1952); for outcomes with mass a point drawn
within their step, Dunn & Smyth, *Randomized quantile residuals* (1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, Finding, axes, names_for, numbers, said_p
from diffeo.diagnostics.significance import holm
from diffeo.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_BINS = 20


@dataclass(frozen=True)
class PIT(Finding):
    """Whether each column's transform is uniform.

    Attributes:
        columns: names.
        gaps: the largest distance of each distribution function from the uniform's.
        p: p-values of each column, corrected for their number.
        counts: rows in equal bins of [0, 1], (columns, bins).
        shapes: of each column, what the model's law is by the histogram's shape: "right", "too narrow",
        "too
            broad", "too low", "too high" or "of another shape".
        rows: how many rows.
    """

    columns: tuple[str, ...]
    gaps: Array
    p: Array
    counts: NDArray[np.int64]
    shapes: tuple[str, ...]
    rows: int

    def in_words(self) -> str:
        """Return the figures in sentences."""
        bad = [k for k in np.argsort(-self.gaps) if self.p[k] <= LEVEL]
        if not bad:
            return (
                f"Every column's conditional distribution is right, to within chance ({len(self.columns)} "
                f"columns, {self.rows:,} rows, the smallest {said_p(float(self.p.min()))} after "
                f"correction)."
            )
        listed = "; ".join(
            f"{self.columns[k]!r} is {self.shapes[k]} (off by {100 * self.gaps[k]:.1f} % of the rows, "
            f"{said_p(float(self.p[k]))})"
            for k in bad[:5]
        )
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        return (
            f"The conditional distributions of {len(bad)} of {len(self.columns)} columns are off: "
            f"{listed}{more}."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the histogram of each column, and the band of chance."""
        ax = axes(ax)
        edges = np.linspace(0, 1, self.counts.shape[1] + 1)
        expected = self.rows / self.counts.shape[1]
        error = 2 * np.sqrt(expected * (1 - 1 / self.counts.shape[1]))
        ax.axhspan(
            (expected - error) / expected, (expected + error) / expected, color="#8d99ae", alpha=0.35
        )
        worst = int(np.argmax(self.gaps))
        for k, name in enumerate(self.columns):
            strong = k == worst
            ax.stairs(self.counts[k] / expected, edges, lw=1.8 if strong else 0.6,
                      color="#c1440e" if strong else "#8d99ae", label=name if strong else None)  # fmt: skip
        ax.set_xlabel("F(x | columns before it)")
        ax.set_ylabel("density (1 where right)")
        ax.legend(frameon=False)
        return ax


def pit(u: object, columns: Sequence[str] | None = None) -> PIT:
    """Test whether the transforms of each column are uniform on [0, 1].

    Args:
        u: F(xⱼ | before) of each cell, (rows, columns). ``FlowDensity.residuals`` gives their normal
            quantiles, u = Φ(z).
        columns: names.

    Raises:
        DataError: a number is not in [0, 1].

    >>> u = np.random.default_rng(0).random((400, 2))
    >>> bool(pit(u).p.min() > 0.05)
    True
    >>> print(pit(np.stack([u[:, 0], u[:, 1] ** 2], 1), ["a", "b"]))
    The conditional distributions of 1 of 2 columns are off: 'b' is too high (off by ... % of the rows, p <
    0.001).
    """
    from scipy.stats import kstest

    rows = numbers("u", u, 2)
    names = names_for(columns, rows.shape[1])
    if rows.min() < 0 or rows.max() > 1:
        raise DataError("u has numbers outside [0, 1]; expected values of distribution functions.")
    found = [kstest(column, "uniform") for column in rows.T]
    p = holm(np.array([one.pvalue for one in found]))
    bins = np.minimum((rows * _BINS).astype(np.int64), _BINS - 1)
    counts = np.stack([np.bincount(column, minlength=_BINS) for column in bins.T])
    shapes = tuple("right" if p[k] > LEVEL else _shape(column) for k, column in enumerate(rows.T))
    return PIT(names, np.array([one.statistic for one in found]), p, counts, shapes, len(rows))


def _shape(u: Array) -> str:
    """Return what is wrong with transforms that are not uniform, by their first two moments."""
    n = len(u)
    shift = (u.mean() - 0.5) * np.sqrt(12 * n)
    spread = (((u - 0.5) ** 2).mean() - 1 / 12) * np.sqrt(180 * n)
    if max(abs(shift), abs(spread)) < 2.6:
        return "of another shape"
    if abs(shift) > abs(spread):
        return "too low" if shift > 0 else "too high"
    return "too narrow" if spread > 0 else "too broad"
