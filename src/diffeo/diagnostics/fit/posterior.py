"""Is a conditional density p(θ | c) right? Ranks of the truth among draws (SBC), and coverage (TARP).

Both need pairs (θ, c) of the truth and draws θ′ ~ p(θ | c) for each c, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, Finding, axes, names_for, numbers, said_p
from diffeo.diagnostics.fit.pit import PIT, pit
from diffeo.errors import ShapeError, at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


def sbc(truth: object, drawn: object, columns: Sequence[str] | None = None, *, seed: int = 0) -> PIT:
    """Simulation-based calibration: the rank of the truth among draws given its context is uniform.

    u = (draws below + a share of chance of ties and of the step) / (draws + 1) is then uniform on [0, 1],
    so
    that the result is one of :func:`~diffeo.diagnostics.fit.pit.pit`, of each column given the context
    alone.

    Args:
        truth: θ, (rows, columns).
        drawn: draws given each row's context, (rows, draws, columns).
        columns: names.
        seed: of the order of ties.

    Raises:
        ShapeError: the shapes do not fit.

    Source: Talts et al., *Validating Bayesian inference algorithms with simulation-based calibration*
    (2018).

    >>> draws = np.random.default_rng(0)
    >>> c = draws.normal(size=(300, 1))
    >>> given = c[:, None] + draws.normal(size=(300, 50, 1))
    >>> bool(sbc(c + draws.normal(size=(300, 1)), given).p[0] > 0.05)
    True
    """
    theta, given = _pairs(truth, drawn)
    at_least("seed", seed, 0)
    below = (given < theta[:, None]).sum(1)
    ties = (given == theta[:, None]).sum(1)
    chance = np.random.default_rng(seed).random(theta.shape)
    return pit(
        (below + chance * (ties + 1)) / (given.shape[1] + 1), columns or names_for(None, theta.shape[1])
    )


@dataclass(frozen=True)
class Tarp(Finding):
    """Expected coverage of credible regions around random points.

    Attributes:
        nominal: credibility levels.
        actual: how often the truth lies in regions of that credibility.
        worst: the largest distance of the two.
        p: of a distance as large where the density is right.
        rows: how many rows.
    """

    nominal: Array
    actual: Array
    worst: float
    p: float
    rows: int

    def in_words(self) -> str:
        """Return the figures in a sentence."""
        if self.p > LEVEL:
            return (
                f"Credible regions around random points hold the truth as often as they should, to within "
                f"chance ({self.rows:,} rows, {said_p(self.p)})."
            )
        return (
            f"Credible regions around random points are off by up to {100 * self.worst:.1f} % "
            f"({self.rows:,} rows, {said_p(self.p)}): the conditional density is not right."
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw actual against nominal."""
        ax = axes(ax)
        ax.plot([0, 1], [0, 1], color="#8d99ae", lw=1)
        ax.plot(self.nominal, self.actual, color="#c1440e")
        ax.set_xlabel("credibility")
        ax.set_ylabel("expected coverage")
        return ax


def tarp(truth: object, drawn: object, *, seed: int = 0) -> Tarp:
    """Test coverage with random points: a test that sees all columns together.

    r is drawn uniformly from the box of the truths; the share of draws nearer to r than θ is uniform if,
    and
    for r that depends on the context only if, the density is right. Distances are in standard deviations of
    the truths.

    Args:
        truth: θ, (rows, columns).
        drawn: draws given each row's context, (rows, draws, columns).
        seed: of the points and of ties.

    Raises:
        ShapeError: the shapes do not fit.

    Source: Lemos et al., *Sampling-based accuracy testing of posterior estimators* (2023).

    >>> draws = np.random.default_rng(0)
    >>> c = draws.normal(size=(300, 2))
    >>> given = c[:, None] + draws.normal(size=(300, 50, 2))
    >>> tarp(c + draws.normal(size=(300, 2)), given).p > 0.05
    True
    """
    from scipy.stats import kstest

    theta, given = _pairs(truth, drawn)
    at_least("seed", seed, 0)
    chance = np.random.default_rng(seed)
    scale = theta.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    points = chance.uniform(theta.min(0), theta.max(0), size=theta.shape)
    to_truth = np.linalg.norm((theta - points) / scale, axis=-1)
    to_draws = np.linalg.norm((given - points[:, None]) / scale, axis=-1)
    nearer = (to_draws < to_truth[:, None]).sum(1)
    ties = (to_draws == to_truth[:, None]).sum(1)
    share = (nearer + chance.random(len(theta)) * (ties + 1)) / (given.shape[1] + 1)
    levels = np.linspace(0, 1, 41)
    actual = np.searchsorted(np.sort(share), levels, side="right") / len(share)
    found = kstest(share, "uniform")
    return Tarp(levels, actual, float(found.statistic), float(found.pvalue), len(theta))


def _pairs(truth: object, drawn: object) -> tuple[Array, Array]:
    theta, given = numbers("truth", truth, 2), numbers("drawn", drawn, 3)
    if given.shape[::2] != theta.shape:
        raise ShapeError(
            f"drawn has shape {given.shape}; expected ({len(theta)}, draws, {theta.shape[1]}): draws for "
            "each row of truth."
        )
    return theta, given
