"""Is the latent standard normal, as it is where the model is right? Three views of one question.

* energy: the distance of z from N(0, I) in its joint law (Székely & Rizzo, *A new test for multivariate
  normality*, 2005, for mean and covariance that are known), n (2 E‖z − Z‖ − E‖Z − Z′‖ − E‖z − z′‖);
* each column: the largest distance of its distribution function from Φ (Kolmogorov–Smirnov), with Holm's
  correction for their number;
* covariance: n (tr S − log det S − D), S = E z zᵀ, the likelihood ratio against N(0, Σ).

Null distributions of the first and the last are simulated, so that few rows and many columns are judged
rightly; that of the first until it is plain that chance explains what was seen (Besag & Clifford,
*Sequential Monte Carlo p-values*, 1991).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import LEVEL, Finding, axes, names_for, numbers, said_p
from diffeo.diagnostics.significance import holm
from diffeo.errors import at_least

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

#: Rows that the energy distance is computed of: all pairs of them are.
_PAIRS = 400

#: Simulations of a null distribution, at most: p-values down to one in two thousand, so that a test is
#: heard after correction for several others; and simulations above what was seen that end them.
_SIMULATIONS, _ENOUGH = 1_999, 20


@dataclass(frozen=True)
class Latent(Finding):
    """How far latent numbers are from standard normal.

    Attributes:
        columns: names.
        energy: the energy statistic, 0 where z ~ N(0, I) exactly.
        energy_p: its p-value, simulated.
        gaps: of each column, the largest distance of its distribution function from Φ.
        column_p: their p-values, corrected.
        correlation: the correlations of the columns.
        covariance_p: p-value of S = I.
        quantiles: of each column, at :attr:`levels`, for the picture.
        levels: probabilities.
        rows: how many rows.
    """

    columns: tuple[str, ...]
    energy: float
    energy_p: float
    gaps: Array
    column_p: Array
    correlation: Array
    covariance_p: float
    quantiles: Array
    levels: Array
    rows: int

    @property
    def p(self) -> float:
        """Return the p-value of all three together (Bonferroni)."""
        return min(1.0, 3 * min(self.energy_p, float(self.column_p.min()), self.covariance_p))

    def in_words(self) -> str:
        """Return the figures in sentences."""
        worst = int(np.argmin(self.column_p * 2 - self.gaps))
        if self.p > LEVEL:
            return (
                f"The latent of {self.rows:,} rows cannot be told from independent standard normals "
                f"(energy {said_p(self.energy_p)}; columns {said_p(float(self.column_p.min()))} after "
                f"correction; covariance {said_p(self.covariance_p)})."
            )
        said: list[str] = []
        if self.energy_p <= LEVEL:
            said.append(f"its joint law differs from N(0, I) ({said_p(self.energy_p)})")
        bad = int((self.column_p <= LEVEL).sum())
        if bad:
            said.append(
                f"{bad} of {len(self.columns)} columns differ, most of all {self.columns[worst]!r} by "
                f"{100 * self.gaps[worst]:.1f} % of the rows ({said_p(float(self.column_p[worst]))} after "
                "correction)"
            )
        if self.covariance_p <= LEVEL:
            most = self._most_correlated()
            said.append(f"what should be uncorrelated is correlated{most} ({said_p(self.covariance_p)})")
        return (
            f"The latent of {self.rows:,} rows is not standard normal: "
            f"{'; '.join(said or ['taken together'])}."
        )

    def _most_correlated(self) -> str:
        if len(self.columns) < 2:
            return " or of another size"
        off = np.abs(self.correlation - np.eye(len(self.columns)))
        j, k = np.unravel_index(int(np.argmax(off)), off.shape)
        return (
            f" or of another size, at most {self.columns[j]!r} and {self.columns[k]!r} by "
            f"{self.correlation[j, k]:+.2f}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the quantiles of each column against the normal's, less these: flat where right."""
        from scipy.special import ndtri

        ax = axes(ax)
        normal = ndtri(self.levels)
        worst = int(np.argmin(self.column_p * 2 - self.gaps))
        for k, name in enumerate(self.columns):
            strong = k == worst
            ax.plot(normal, self.quantiles[k] - normal, lw=1.8 if strong else 0.7,
                    color="#c1440e" if strong else "#8d99ae", label=name if strong else None)  # fmt: skip
        ax.axhline(0, color="#1d3557", lw=0.8)
        ax.set_xlabel("normal quantile")
        ax.set_ylabel("latent quantile − normal quantile")
        ax.legend(frameon=False)
        return ax


def latent_normality(z: object, columns: Sequence[str] | None = None, *, seed: int = 0) -> Latent:
    """Test whether rows of latent numbers are draws of N(0, I).

    Args:
        z: latent numbers, (rows, columns), without NaN; of a model with discrete columns or several members
            those of ``FlowDensity.residuals``, which are standard normal where the model is right.
        columns: their names.
        seed: of the rows of the energy test, and of the simulations.

    Raises:
        ShapeError, DataError, ConfigError: z is no table of finite numbers, or the names do not fit.

    >>> z = np.random.default_rng(0).normal(size=(300, 2))
    >>> latent_normality(z).p > 0.05, latent_normality(1.5 * z).p < 0.01
    (True, True)
    """
    from scipy.stats import kstest

    at_least("seed", seed, 0)
    rows = numbers("z", z, 2)
    names = names_for(columns, rows.shape[1])
    draws = np.random.default_rng(seed)
    some = rows if len(rows) <= _PAIRS else rows[draws.choice(len(rows), _PAIRS, replace=False)]
    energy = energy_from_normal(some)
    found = [kstest(column, "norm") for column in rows.T]
    second = rows.T @ rows / len(rows)
    spread = _ratio(second[None], len(rows))[0]
    chance = _ratio(_wisharts(rows.shape[1], len(rows), draws), len(rows))
    levels = np.linspace(0.005, 0.995, 100)
    deviation = np.sqrt(np.diag(second))
    return Latent(
        names,
        energy,
        _share_of_energies_above(energy, some.shape, draws),
        np.array([one.statistic for one in found]),
        holm(np.array([one.pvalue for one in found])),
        second / np.outer(deviation, deviation),
        _share_above(chance, spread),
        np.quantile(rows, levels, axis=0).T,
        levels,
        len(rows),
    )


def energy_from_normal(z: Array) -> float:
    """Return n (2 E‖z − Z‖ − E‖Z − Z′‖ − E‖z − z′‖), Z ~ N(0, I).

    E‖a − Z‖ = √2 Γ((D+1)/2) / Γ(D/2) · ₁F₁(−½; D/2; −‖a‖²/2).

    >>> energy_from_normal(np.random.default_rng(0).normal(size=(200, 3))) < 3
    True
    """
    from scipy.spatial.distance import pdist
    from scipy.special import gammaln, hyp1f1

    n, d = z.shape
    scale = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    square = (z**2).sum(1)
    near = np.minimum(square, 400.0)
    # Far out ‖a − Z‖ is √(‖a‖² + D − 1) to within 1/‖a‖³, and the series loses its digits.
    to_normal = np.where(square < 400.0, scale * hyp1f1(-0.5, d / 2, -near / 2), np.sqrt(square + d - 1))
    between = scale * math.sqrt(2)
    within = 2 * float(pdist(z).sum()) / n**2
    return float(n * (2 * to_normal.mean() - between - within))


def _wisharts(d: int, n: int, draws: np.random.Generator) -> Array:
    """Return second moments of n draws of N(0, I), by their triangular factor (Bartlett 1933)."""
    if n < d:
        z = draws.normal(size=(_SIMULATIONS, n, d))
        return np.einsum("sni,snj->sij", z, z) / n
    lower = np.tril(draws.normal(size=(_SIMULATIONS, d, d)), -1)
    diagonal = np.sqrt(draws.chisquare(n - np.arange(d), size=(_SIMULATIONS, d)))
    lower[:, np.arange(d), np.arange(d)] = diagonal
    return lower @ lower.transpose(0, 2, 1) / n


def _ratio(second: Array, n: int) -> Array:
    """Return n (tr S − log det S − D), of the eigenvalues that n rows can determine."""
    values = np.linalg.eigvalsh(second)[:, -min(n, second.shape[1]) :]
    values = np.maximum(values, 1e-300)
    return n * (values - np.log(values) - 1).sum(1)


def _share_of_energies_above(energy: float, shape: tuple[int, ...], draws: np.random.Generator) -> float:
    """Return the p-value of an energy: simulations go on until enough are above it, or all are done."""
    above = 0
    for done in range(1, _SIMULATIONS + 1):
        above += energy_from_normal(draws.normal(size=shape)) >= energy
        if above == _ENOUGH:
            return above / done
    return (1 + above) / (1 + _SIMULATIONS)


def _share_above(null: Array, value: float) -> float:
    return float((1 + (null >= value).sum()) / (1 + len(null)))
