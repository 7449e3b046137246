"""Highest-density regions: does the region that should hold 90 % of the rows hold 90 % of them?

The region of level α is {x : log p(x) ≥ t_α}, t_α being the quantile of log p over the model's own draws
that leaves the share α above. Where rows follow p, each region holds its share. It needs log p and draws
only, so that any density can be asked, of mixed columns too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, Finding, axes, log_densities, said_p
from diffeo.errors import at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True)
class Coverage(Finding):
    """How many rows lie in the regions of highest density.

    Attributes:
        nominal: levels α.
        actual: the share of rows inside each region.
        band: two standard errors of that share where the model is right (binomial, of the rows and of the
            draws that set the thresholds).
        worst: the largest distance between actual and nominal.
        at: the level of that distance.
        p: of a distance as large where the model is right (Kolmogorov–Smirnov).
        rows: how many rows.
    """

    nominal: NDArray[np.float64]
    actual: NDArray[np.float64]
    band: NDArray[np.float64]
    worst: float
    at: float
    p: float
    rows: int

    def share(self, level: float) -> float:
        """Return the share of rows in the region of that level."""
        return float(np.interp(level, self.nominal, self.actual))

    def in_words(self) -> str:
        """Return the figures in sentences."""
        said = (
            f"The regions that should hold 50 % and 90 % of the rows hold {100 * self.share(0.5):.1f} "
            f"% and {100 * self.share(0.9):.1f} % ({self.rows:,} rows)"
        )
        if self.p > LEVEL:
            return f"{said}: as they should, to within chance ({said_p(self.p)})."
        few = self.share(self.at) < self.at
        why = (
            "too few rows lie where the model puts its mass: it is too sure of itself, or the rows "
            "come from elsewhere"
            if few
            else "too many rows lie where the model puts most mass: it is broader than the rows"
        )
        return f"{said}; off by {100 * self.worst:.1f} % of the rows at most ({said_p(self.p)}): {why}."

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw actual against nominal, with the band."""
        ax = axes(ax)
        low, high = self.nominal - self.band, self.nominal + self.band
        ax.fill_between(
            self.nominal, low.clip(0, 1), high.clip(0, 1), color="#8d99ae", alpha=0.4, label="chance"
        )
        ax.plot(self.nominal, self.actual, color="#c1440e", label="rows")
        ax.set_xlabel("share that the region should hold")
        ax.set_ylabel("share that it holds")
        ax.legend(frameon=False)
        return ax


def coverage(log_p: object, drawn_log_p: object, *, seed: int = 0) -> Coverage:
    """Return the coverage of highest-density regions.

    Args:
        log_p: log p of rows, (rows,).
        drawn_log_p: log p of draws from the model, (draws,): as many as rows, or more.
        seed: of the order of rows that are exactly as likely as one another.

    >>> draws = np.random.default_rng(0)
    >>> right = -0.5 * draws.normal(size=1000) ** 2
    >>> coverage(right, -0.5 * draws.normal(size=1000) ** 2).p > 0.05
    True
    >>> coverage(9 * right, -0.5 * draws.normal(size=1000) ** 2).p < 0.001
    True
    """
    from scipy.stats import ks_2samp

    at_least("seed", seed, 0)
    own, drawn = log_densities("log_p", log_p), log_densities("drawn_log_p", drawn_log_p)
    # Ranks, ties (outcomes of equal probability) in an order of chance: exact for discrete columns too.
    both = np.concatenate([own, drawn])
    order = np.lexsort((np.random.default_rng(seed).random(len(both)), -both))
    rank = np.empty(len(both))
    rank[order] = np.arange(len(both))
    mine, theirs = np.sort(rank[: len(own)]), np.sort(rank[len(own) :])
    # The level at which a row enters the region: the share of draws that are likelier.
    enters = np.searchsorted(theirs, mine) / len(theirs)
    actual = np.searchsorted(enters, _LEVELS, side="right") / len(enters)
    actual[0], actual[-1] = 0.0, 1.0
    error = np.sqrt(_LEVELS * (1 - _LEVELS) * (1 / len(own) + 1 / len(drawn)))
    far = int(np.argmax(np.abs(actual - _LEVELS)))
    found = ks_2samp(mine, theirs, method="asymp")
    return Coverage(
        _LEVELS.copy(),
        actual,
        2 * error,
        float(abs(actual[far] - _LEVELS[far])),
        float(_LEVELS[far]),
        float(found.pvalue),  # pyright: ignore[reportAttributeAccessIssue]
        len(own),
    )
