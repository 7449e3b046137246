"""From a table to its density: checked, split, standardised, fitted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffeo.errors import ConfigError, DataError, a_part, number
from diffeo.kernels.safe import safe_limit
from diffeo.tables.architecture import Architecture
from diffeo.tables.model import TableModel
from diffeo.tables.training_rows import TrainingRows, training_rows
from diffeo.training import Evaluation, FitResult, TrainConfig, fit

if TYPE_CHECKING:
    import polars as pl

#: Held-out rows beyond this cost time at every evaluation, and no longer sharpen the figure.
_MOST_HELD_OUT = 50_000


def table_training(**settings: Any) -> TrainConfig:
    """Return the settings a table is trained with, ``settings`` changed.

    A higher rate than the general default, with the weights averaged over the last hundred steps: on
    tables of a hundred to some thousand rows this reaches a better held-out figure in as many steps.

    >>> table_training(seed=3).averaging
    0.99
    """
    defaults: dict[str, Any] = {"learning_rate": 3e-3, "weight_decay": 1e-2, "averaging": 0.99}
    return TrainConfig(**{**defaults, **settings})


def fit_table(
    data: pl.DataFrame | TrainingRows,
    *,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    missing: str = "refuse",
    constant: str = "refuse",
    architecture: Architecture | None = None,
    validation: float = 0.1,
    config: TrainConfig | None = None,
    checkpoint: str | PathLike[str] | None = None,
    callback: Callable[[Evaluation], Any] | None = None,
    progress: bool | None = None,
) -> tuple[TableModel, FitResult]:
    """Fit the density of a table by maximum likelihood; the model scores in the table's own units.

    The rows are split at random (by ``config.seed``) into training and held-out rows; location and scale
    are read off the training rows only. The figures in the result, and those that a callback
    is given, are in nats of the data's units (those of a progress bar in nats of standardised columns).

    Args:
        data: the table, or :func:`diffeo.tables.training_rows` of it.
        columns: the columns to model; all if not given.
        drop: columns to leave out.
        missing: "refuse" missing and infinite values, or "drop" the rows that have them.
        constant: "refuse" constant columns, or "drop" them.
        architecture: the flow; by the size of the table if not given.
        validation: the share of rows held out, in (0, 0.5]; never more than 50,000 rows.
        config: how to train, and the seed; :func:`table_training` if not given.
        checkpoint: a file that training states are kept in and resumed from.
        callback: as in :func:`diffeo.fit`.
        progress: as in :func:`diffeo.fit`.

    Raises:
        DataError: the table cannot be used; the message names column, row and remedy.
        TrainingError: the optimisation could not go on.

    >>> import numpy as np, polars as pl
    >>> rng = np.random.default_rng(0)
    >>> frame = pl.DataFrame({"a": rng.normal(5.0, 2.0, 300), "b": rng.normal(size=300)})
    >>> model, result = fit_table(frame, config=TrainConfig(max_epochs=2))
    >>> model.score(frame).shape
    (300,)
    """
    if isinstance(data, TrainingRows):
        rows = data
    else:
        rows = training_rows(data, columns=columns, drop=drop, missing=missing, constant=constant)
    number("validation", validation, above=0, most=0.5)
    settings = table_training() if config is None else config
    design = Architecture() if architecture is None else architecture
    a_part("config", settings, TrainConfig, "diffeo.TrainConfig(seed=1)")
    a_part("architecture", design, Architecture, "Architecture(couplings=4)")
    if callback is not None and not callable(callback):
        raise ConfigError(f"callback is a {type(callback).__name__}; expected a function: pass one.")
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(rows.values), generator=generator)
    held_out = min(max(2, round(validation * len(order))), _MOST_HELD_OUT)
    values = torch.from_numpy(rows.values)
    model = _untrained(rows, design, len(order) - held_out, settings.seed)
    model.standardize.initialise(values[order[held_out:]])
    z, log_dets = model.standardize.inverse(values)
    _check_reach(rows, z, safe_limit(model.flow.dtype))
    z, log_det = z.to(model.flow.dtype), float(log_dets[0])

    def in_units_of_the_data(evaluation: Evaluation) -> Any:
        return None if callback is None else callback(_moved(evaluation, log_det))

    result = fit(
        model.flow,
        z[order[held_out:]],
        validation=z[order[:held_out]],
        config=settings,
        checkpoint=checkpoint,
        callback=in_units_of_the_data,
        progress=progress,
    )
    history = tuple(_moved(evaluation, log_det) for evaluation in result.history)
    best = result.best_held_out_nats - log_det
    return model.eval(), dataclasses.replace(result, history=history, best_held_out_nats=best)


def _check_reach(rows: TrainingRows, z: Tensor, most: float) -> None:
    """Raise :class:`DataError` if a standardised value is beyond what a density is computed at."""
    far = (z.abs() > most).nonzero()
    if len(far):
        row, column = far[0].tolist()
        among = " of those that were not left out" if rows.rows_left_out else ""
        raise DataError(
            f"column {rows.schema.names[column]!r} holds {rows.values[row, column]:.4g} in row "
            f"{row + 1}{among}, {abs(float(z[row, column])):.2g} times the column's spread away from its "
            f"median; expected less than {most:.0e} times: mend that value, or leave the row out."
        )


def _untrained(rows: TrainingRows, architecture: Architecture, count: int, seed: int) -> TableModel:
    # Layers draw their first weights from the global generator: it is seeded for them, then put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = architecture.build(len(rows.schema.columns), count)
    return TableModel(rows.schema, flow)


def _moved(evaluation: Evaluation, log_det: float) -> Evaluation:
    """Return the evaluation in the units of the data, from that of the standardised columns."""
    return dataclasses.replace(
        evaluation,
        train_nats=evaluation.train_nats - log_det,
        held_out_nats=evaluation.held_out_nats - log_det,
    )
