"""One model, one seed: fitted, timed, and measured on the rows that were held out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.comparison.contenders import Contender
from diffeo.comparison.rows import Rows
from diffeo.diagnostics.samples import (
    ClassifierTest,
    Discrepancy,
    Energy,
    Memorisation,
    PrecisionRecall,
    classifier_two_sample,
    energy_distance,
    memorisation,
    mmd,
    precision_recall,
)
from diffeo.errors import DataError, NoDensityError
from diffeo.friends.protocol import DensityModel

Array = NDArray[np.float64]

#: Draws of a model that are measured, at most; as many as rows are held out, if these are fewer.
DRAWS = 2_000

#: Draws that are not finite are left out; with more than this share of them, nothing is measured.
_MOST_BAD = 0.1


@dataclass(frozen=True)
class Beside:
    """Draws beside held-out rows.

    Attributes:
        classifier: can a classifier tell them apart?
        mmd, energy: distances, in standardised columns.
        regions: precision and recall, density and coverage.
        memorisation: do draws favour training rows? None for rows that are training rows themselves.
    """

    classifier: ClassifierTest
    mmd: Discrepancy
    energy: Energy
    regions: PrecisionRecall
    memorisation: Memorisation | None

    @classmethod
    def of(cls, draws: Array, rows: Rows, seed: int, *, fresh: bool = True) -> Beside:
        """Measure draws; ``fresh`` is False for training rows, which are their own nearest."""
        held = rows.standard(rows.held)
        given = rows.standard(draws)
        return cls(
            classifier=classifier_two_sample(held, given, seed),
            mmd=mmd(held, given, seed=seed),
            energy=energy_distance(held, given, seed=seed),
            regions=precision_recall(held, given, seed=seed),
            memorisation=memorisation(given, rows.standard(rows.train), held, seed=seed) if fresh else None,
        )


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        model: its name.
        seed: of its weights and of its draws.
        density: "exact", "lower bound" or "implicit".
        described: what was fitted.
        nats: mean of log p over held-out rows, or of its bound; NaN where there is none.
        error: its standard error, by the choice of held-out rows.
        no_density: why there are no nats.
        beside: draws beside held-out rows; None where they could not be measured.
        bad_draws: the share of draws that were not finite.
        budget: seconds that it was given; None: it takes what it needs.
        fit_seconds: what the fit took.
        score_seconds, sample_seconds: for a row; NaN where it was not done.
        n_parameters: fitted numbers.
        failed: the error that ended it, or nothing.
        scores: log p of each held-out row, or its bound.
    """

    model: str
    seed: int
    density: str
    described: str = ""
    nats: float = math.nan
    error: float = math.nan
    no_density: str = ""
    beside: Beside | None = None
    bad_draws: float = 0.0
    budget: float | None = None
    fit_seconds: float = math.nan
    score_seconds: float = math.nan
    sample_seconds: float = math.nan
    n_parameters: int = 0
    failed: str = ""
    scores: Array | None = field(default=None, repr=False, compare=False)


def measured(
    contender: Contender, rows: Rows, seed: int, time_budget: float, report: Callable[[str], None]
) -> tuple[Entry, DensityModel | None]:
    """Return what a model reached, and the fitted model; a model that fails is told, not raised."""
    budget = time_budget if contender.budgeted else None
    density = "—"
    try:
        model = contender.make(seed, rows)
        density = str(model.density)
        return _measured(contender, model, rows, seed, budget, report), model
    except (KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        # The others' hours are not lost to one model's fault, whoever wrote it; the table says what it was.
        failed = f"{type(error).__name__}: {str(error) or 'without a word'}"
        return Entry(contender.name, seed, density, budget=budget, failed=failed), None


def reference(rows: Rows, seed: int = 0) -> Entry:
    """Return the row of the data themselves: what a model that has their law would reach.

    Of a toy, its exact density and fresh draws; else training rows in place of draws, without nats.
    """
    count = min(DRAWS, len(rows.held))
    if rows.toy is not None:
        scores = rows.truth(rows.held)
        assert scores is not None
        nats, error = mean_and_error(scores)
        draws = rows.toy.sample(count, seed=seed + 1_000_003).double().numpy()
        beside = Beside.of(draws, rows, seed)
        return Entry("the truth", seed, "exact", "exact density", nats, error, beside=beside, scores=scores)
    chosen = np.random.default_rng(seed).choice(len(rows.train), min(count, len(rows.train)), replace=False)
    beside = Beside.of(rows.train[np.sort(chosen)], rows, seed, fresh=False)
    why = "the density of the data is not known"
    return Entry("training rows", seed, "unknown", "as if they were draws", no_density=why, beside=beside)


def mean_and_error(scores: Array) -> tuple[float, float]:
    """Return the mean and its standard error; (−∞, NaN) where a row has density 0.

    >>> mean_and_error(np.array([1.0, 3.0]))
    (2.0, 1.0)
    """
    if not np.isfinite(scores).all():
        return float(scores.mean()), math.nan
    return float(scores.mean()), float(scores.std(ddof=1) / len(scores) ** 0.5)


def _measured(
    contender: Contender,
    model: DensityModel,
    rows: Rows,
    seed: int,
    budget: float | None,
    report: Callable[[str], None],
) -> Entry:
    train, held = (_as_taken(contender, rows, x) for x in (rows.train, rows.held))
    begun = time.perf_counter()
    model.fit(train, time_budget=budget, report=report)
    fit_seconds = time.perf_counter() - begun
    report("scoring held-out rows")
    facts: dict[str, Any] = {"fit_seconds": fit_seconds}
    try:
        begun = time.perf_counter()
        scores = np.asarray(model.log_prob(held), dtype=np.float64)
        facts["score_seconds"] = (time.perf_counter() - begun) / len(held)
        if scores.shape != (len(held),):
            raise DataError(f"log_prob returned shape {scores.shape}; expected ({len(held)},): one a row.")
        facts["nats"], facts["error"] = mean_and_error(scores)
        facts["scores"] = scores
    except NoDensityError as error:
        facts["no_density"] = str(error)
    report("drawing samples")
    count = min(DRAWS, len(held))
    begun = time.perf_counter()
    draws = np.asarray(model.sample(count, seed=seed), dtype=np.float64)
    facts["sample_seconds"] = (time.perf_counter() - begun) / count
    if draws.shape[0] != count or draws[0].size != rows.features:
        raise DataError(
            f"sample({count}) returned shape {draws.shape}; expected ({count}, {rows.features})."
        )
    finite = np.isfinite(draws.reshape(count, -1)).all(1)
    facts["bad_draws"] = float(1 - finite.mean())
    if facts["bad_draws"] <= _MOST_BAD:
        report("comparing samples with held-out rows")
        facts["beside"] = Beside.of(draws[finite], rows, seed)
    return Entry(
        contender.name,
        seed,
        str(model.density),
        model.describe(),
        budget=budget,
        n_parameters=int(model.n_parameters),
        **facts,
    )


def _as_taken(contender: Contender, rows: Rows, x: Array) -> Array:
    return x if contender.images else x.reshape(len(x), -1)
