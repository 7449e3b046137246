"""The likelihood ratio of two densities: what of a row's log p is not mere background.

A raw likelihood of images says how smooth and how plain an image is before it says what is on it: a density
that was trained on CIFAR-10 finds SVHN likelier than CIFAR-10 itself (Nalisnick et al. 2019). What both
densities know alike, that of the images and that of a background, cancels in

    r(x) = log p(x) − log p₀(x).

The background p₀ is the same model, trained on rows of which a share of the cells was replaced by noise
(:func:`perturbed`): it still knows how plain a row is, and no longer what holds it together.

Source: Ren, Liu, Fertig, Snoek, Poplin, DePristo, Dillon & Lakshminarayanan, *Likelihood ratios for
out-of-distribution detection* (2019), equations 3–5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffeo.diagnostics.fit.finding import Finding, axes, log_densities
from diffeo.diagnostics.significance import lower_ranks
from diffeo.errors import ConfigError, DataError, ShapeError, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

#: What every result says of the likelihood itself.
WARNING = (
    "Beware of the raw likelihood: it is high for plain, smooth rows whatever is on them, and may well be "
    "higher for rows of another kind than for those of the training."
)


@dataclass(frozen=True)
class LikelihoodRatio(Finding):
    """Ratios of rows, ranked among those of held-out rows.

    Attributes:
        ratio: r(x) = log p(x) − log p₀(x) of each row, in nats.
        log_p: log p(x) of each row, for comparison only.
        p: conformal p-value of each ratio, low where it is low: of rows like the held-out ones, a share α
            has p ≤ α at most, whatever the two densities are.
        raw_p: the same of log p(x) alone.
        held_ratio: ratios of the held-out rows.
        held_log_p: their log p.
    """

    ratio: Array
    log_p: Array
    p: Array
    raw_p: Array
    held_ratio: Array
    held_log_p: Array

    def unusual(self, rate: float = 0.05) -> NDArray[np.int64]:
        """Return the rows with p ≤ ``rate``, the most unusual first."""
        number("rate", rate, above=0, below=1)
        found = np.flatnonzero(self.p <= rate)
        return found[np.argsort(self.ratio[found], kind="stable")]

    def in_words(self) -> str:
        """Return what was found, with the warning."""
        n = len(self.ratio)
        higher = 100 * float((self.log_p > np.median(self.held_log_p)).mean())
        return (
            f"By the ratio {len(self.unusual())} of {n:,} rows are unusual (p ≤ 0.05, where {0.05 * n:.0f} "
            f"would be by chance); by the likelihood alone {int((self.raw_p <= 0.05).sum())}. "
            f"{higher:.0f} % of the rows are likelier than the median of the {len(self.held_ratio):,} "
            f"held-out ones. {WARNING}"
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw log p against the ratio, of the rows over the held-out ones."""
        ax = axes(ax)
        ax.scatter(self.held_log_p, self.held_ratio, s=7, color="#8d99ae", label="held-out rows")
        ax.scatter(self.log_p, self.ratio, s=7, color="#c1440e", label="these rows")
        ax.set_xlabel("log p(x), nats")
        ax.set_ylabel("log p(x) − log p₀(x), nats")
        ax.legend(frameon=False)
        return ax


def likelihood_ratio(model: Any, background: Any, x: Any, held: Any) -> LikelihoodRatio:
    """Rank rows by the ratio of two densities among rows that neither was trained on.

    Args:
        model: p: has ``log_prob(rows)`` of batch shape, in nats.
        background: p₀, of the same rows in the same units.
        x: the rows or images in question, as ``log_prob`` takes them.
        held: rows like those of the training that took no part in it.

    Raises:
        ConfigError: a model has no ``log_prob``.
        DataError: there is no row, or a log-density is NaN, or a held-out one is not finite.
        ShapeError: a model gives something other than one number a row.

    >>> from diffeo.distributions import FullNormal, StandardNormal
    >>> rows = torch.tensor([[0.0, 0.0], [0.1, 0.2], [-0.2, 0.1]])
    >>> found = likelihood_ratio(StandardNormal(2), FullNormal(2), rows[:1], rows)
    >>> found.p.tolist(), found.raw_p.tolist()
    ([1.0], [1.0])
    """
    named = (("model", model), ("background", background))
    for name, one in named:
        if not callable(getattr(one, "log_prob", None)):
            raise ConfigError(
                f"{name} is a {type(one).__name__} without log_prob; expected a density of these rows: "
                "fit a flow, or a friend whose density is exact."
            )
    ours, theirs = (_log_p(name, one, x) for name, one in named)
    held_ours, held_theirs = (_log_p(name, one, held) for name, one in named)
    for name, values in (("model", held_ours), ("background", held_theirs)):
        if not np.isfinite(values).all():
            raise DataError(
                f"{name}.log_prob(held) is infinite for {int((~np.isfinite(values)).sum())} of "
                f"{len(values)} rows; expected rows like those of the training: hold out others."
            )
    # Where both densities are 0 the ratio says nothing, and the row is as unusual as can be.
    ratio = np.where(np.isneginf(ours), -np.inf, ours - np.where(np.isneginf(ours), 0.0, theirs))
    held_ratio = held_ours - held_theirs
    return LikelihoodRatio(
        ratio, ours, lower_ranks(held_ratio, ratio), lower_ranks(held_ours, ours), held_ratio, held_ours
    )


def perturbed(x: Any, rate: float = 0.1, *, random_state: int = 0) -> Any:
    """Return rows of which a share ``rate`` of the cells holds a value of that cell in another row.

    Each cell keeps its marginal law; what ties the cells together is lost with the share of them that is
    replaced. (Ren et al. draw pixels evenly from all levels; values of other rows do for numbers of any
    kind, and never leave their range.)

    Args:
        x: an array or a tensor, rows first.
        rate: μ, the chance of each cell. Ren et al. choose it between .1 and .3 on held-out rows.
        random_state: seed.

    Returns:
        What was given: an array of numpy, or a tensor of the same dtype and device.

    Raises:
        ShapeError: there are no rows and cells.

    >>> perturbed(np.arange(6.0).reshape(3, 2), 0.5).shape
    (3, 2)
    """
    number("rate", rate, above=0, most=1)
    tensor = isinstance(x, torch.Tensor)
    given = x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
    if given.ndim < 2 or 0 in given.shape:
        raise ShapeError(
            f"x has shape {given.shape}; expected rows of cells, (rows, …), none of them empty."
        )
    draws = np.random.default_rng(random_state)
    flat = given.reshape(len(given), -1)
    other = draws.integers(len(flat), size=flat.shape)
    swapped = np.where(draws.random(flat.shape) < rate, np.take_along_axis(flat, other, 0), flat)
    found = swapped.reshape(given.shape)
    return torch.from_numpy(found).to(x) if tensor else found


def _log_p(name: str, model: Any, rows: Any) -> Array:
    with torch.no_grad():
        found = model.log_prob(rows)
    if isinstance(found, torch.Tensor):
        found = found.cpu().numpy()
    return log_densities(f"{name}.log_prob(rows)", found)
