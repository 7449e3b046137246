"""Would more rows help, and does the seed matter? The model is fitted again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import Finding, axes, log_densities
from diffeo.errors import ConfigError, at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LearningCurve(Finding):
    """Held-out nats by the number of training rows.

    Attributes:
        sizes: training rows.
        nats: mean log p of the held-out rows, in nats a row.
        errors: its standard errors.
        gain: what the last enlargement brought, by pairs of held-out rows.
        gain_error: its standard error.
    """

    sizes: tuple[int, ...]
    nats: Array
    errors: Array
    gain: float
    gain_error: float

    def in_words(self) -> str:
        """Return the figures in a sentence."""
        last, before = self.sizes[-1], self.sizes[-2]
        said = (
            f"From {before:,} to {last:,} rows, held-out rows gain {self.gain:+.3f} ± "
            f"{self.gain_error:.3f} nats"
        )
        if self.gain > 2 * self.gain_error:
            return f"{said}: more rows would very likely help still."
        return f"{said}: at this size more rows bring nothing that can be seen."

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw held-out nats against rows."""
        ax = axes(ax)
        ax.errorbar(self.sizes, self.nats, yerr=2 * self.errors, fmt="o-", color="#1d3557")
        ax.set_xscale("log")
        ax.set_xlabel("training rows")
        ax.set_ylabel("held-out nats a row (± 2 s.e.)")
        return ax


def learning_curve(
    log_prob_after: Callable[[NDArray[np.int64]], object], rows: int, sizes: Sequence[int], *, seed: int = 0
) -> LearningCurve:
    """Fit to more and more rows; each set of rows holds the smaller ones.

    Args:
        log_prob_after: fits to the training rows of these numbers, and returns log p of the same held-out
            rows each time.
        rows: how many training rows there are.
        sizes: how many to fit to, ascending, at least two.
        seed: of the order of rows.

    Raises:
        ConfigError: sizes do not ascend, or exceed the rows.

    >>> x, held = np.random.default_rng(0).normal(size=(2, 400))
    >>> def fitted(index):
    ...     mean, s = x[index].mean(), x[index].std()
    ...     return -0.5 * ((held - mean) / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
    >>> learning_curve(fitted, 400, [5, 20, 400]).nats.round(2).tolist()
    [-1.43, -1.44, -1.42]
    """
    at_least("rows", rows, 1)
    at_least("seed", seed, 0)
    wanted = [int(size) for size in sizes]
    if len(wanted) < 2 or sorted(set(wanted)) != wanted or wanted[0] < 1 or wanted[-1] > rows:
        raise ConfigError(f"sizes={wanted} must ascend, be two or more, and be between 1 and rows={rows}.")
    order = np.random.default_rng(seed).permutation(rows)
    found = [log_densities("log_prob_after(…)", log_prob_after(np.sort(order[:size]))) for size in wanted]
    step = found[-1] - found[-2]
    return LearningCurve(
        tuple(wanted),
        np.array([one.mean() for one in found]),
        np.array([_error(one) for one in found]),
        float(step.mean()),
        _error(step),
    )


@dataclass(frozen=True)
class Seeds(Finding):
    """Held-out nats of fits from several seeds.

    Attributes:
        seeds: the seeds.
        nats: mean log p of the same held-out rows, in nats a row.
        spread: the standard deviation over seeds.
        row_error: the standard error by the choice of held-out rows, for comparison.
        by_row: how far log p of one row moves with the seed: the median of its deviations.
    """

    seeds: tuple[int, ...]
    nats: Array
    spread: float
    row_error: float
    by_row: float

    def in_words(self) -> str:
        """Return the figures in a sentence."""
        said = (
            f"Over {len(self.seeds)} seeds held-out nats spread by {self.spread:.3f} (± "
            f"{self.row_error:.3f} by "
            f"the choice of rows); log p of a typical row moves by {self.by_row:.3f}"
        )
        if self.spread <= 2 * self.row_error:
            return f"{said}: the seed matters less than the choice of rows."
        return f"{said}: the fit depends on its seed; fit longer, or average several fits."

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the nats of each seed."""
        ax = axes(ax)
        ax.plot(self.nats, range(len(self.nats)), "o", color="#1d3557")
        ax.set_yticks(range(len(self.nats)), [f"seed {seed}" for seed in self.seeds])
        ax.set_xlabel("held-out nats a row")
        return ax


def seed_sensitivity(log_prob_of: Callable[[int], object], seeds: Sequence[int]) -> Seeds:
    """Fit from several seeds, and compare log p of the same held-out rows.

    Args:
        log_prob_of: fits from a seed, and returns log p of the held-out rows.
        seeds: at least two.

    >>> x = np.random.default_rng(0).normal(size=300)
    >>> seed_sensitivity(lambda seed: -0.5 * x**2 + 0.001 * seed, [0, 1, 2]).spread.__round__(4)
    0.001
    """
    chosen: list[Any] = list(seeds)
    if len(chosen) < 2:
        raise ConfigError(f"seeds={chosen} must be at least two, to have a spread.")
    found = np.stack([log_densities("log_prob_of(…)", log_prob_of(seed)) for seed in chosen])
    with np.errstate(invalid="ignore"):
        by_row = found.std(0, ddof=1)
    nats = found.mean(1)
    return Seeds(
        tuple(int(seed) for seed in chosen),
        nats,
        float(nats.std(ddof=1)),
        float(np.mean([_error(one) for one in found])),
        float(np.nanmedian(by_row)),
    )


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
