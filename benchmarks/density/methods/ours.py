"""``diffeo.FlowDensity`` with its defaults, and the product of its marginals."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

import diffeo
from benchmarks.density.methods.method import Fitted, Lacks
from benchmarks.density.protocol import Array

#: Looked up here, so that what it imports is not timed.
ESTIMATOR: Any = getattr(diffeo, "FlowDensity", None)


def numbers(train: Array, validation: Array, seconds: float, seed: int) -> Fitted:
    """Fit training and validation rows; it holds out rows itself.

    The protocol has spread all ties, so that every column is continuous; should the schema nonetheless find
    states or a lattice, the density would be one of another measure, and the fit counts as failed.
    """
    model = _model(seconds, seed)
    model.fit(np.concatenate([train, validation]))
    other = [v.name for v in model.schema_.variables if not v.plain]
    if other:
        raise ValueError(f"taken for other than continuous: {', '.join(map(str, other[:8]))}")
    return Fitted(model.score_samples, _told(model))


def frame(train: pl.DataFrame, seconds: float, seed: int) -> Fitted:
    """Fit a frame as it is."""
    model = _model(seconds, seed).fit(train)
    return Fitted(model.score_samples, _told(model))


def marginals(train: pl.DataFrame, seconds: float, seed: int) -> Fitted:
    """Fit each column alone, all with the same share of the time: p(x) = Π p(x_k), of the same measure.

    Columns that the schema leaves out of the joint density (names, numbers of rows) are left out here too.
    """
    models: dict[str, Any] = {}
    for name in train.columns:
        model = _model(seconds / train.width, seed)
        try:
            models[name] = model.fit(train.select(name))
        except diffeo.errors.DataError:
            continue  # the schema leaves it out of the joint density too

    def log_prob(x: pl.DataFrame) -> Array:
        return np.sum([model.score_samples(x.select(name)) for name, model in models.items()], axis=0)

    return Fitted(log_prob, f"{len(models)} of {train.width} columns, each alone")


def _model(seconds: float, seed: int) -> Any:
    if ESTIMATOR is None:
        raise Lacks("this version of diffeo has no FlowDensity")
    return ESTIMATOR(time_budget=seconds, random_state=seed, verbose=False)


def _told(model: Any) -> str:
    """Return the last lines of the model's own report."""
    return " | ".join(line.strip() for line in str(model.report_).splitlines()[-3:])[:300]
