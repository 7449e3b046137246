"""What ``diffeo fit`` does with a table: one flow of numbers, or the density of mixed columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from diffeo.cli.answer import Answer
    from diffeo.tables import Architecture, TrainingRows
    from diffeo.training import FitResult, TrainConfig


def fit_numbers(
    answer: Answer,
    frame: pl.DataFrame,
    output: str,
    *,
    columns: list[str] | None,
    drop: Sequence[str],
    missing: str,
    constant: str,
    architecture: Architecture,
    validation: float,
    config: TrainConfig,
    checkpoint: str | None,
) -> None:
    """Fit one flow to the numeric columns of a table and write it."""
    from diffeo.tables import fit_table, training_rows

    rows = training_rows(frame, columns=columns, drop=drop, missing=missing, constant=constant)
    _say_what_is_modelled(answer, rows)
    if sys.stderr.isatty():
        answer.remark("(while training, nats of the standardised columns; at the end, of the data's units)")
    fitted, result = fit_table(
        rows, architecture=architecture, validation=validation, config=config, checkpoint=checkpoint
    )
    facts = _facts(rows, result, config, architecture, validation)
    fitted.save(output, extra=facts)
    answer.give(
        {**facts, "model": output, "seconds": result.seconds, "columns": list(rows.schema.names)},
        f"held-out log-likelihood {-result.best_held_out_nats:.4f} nats a row, in the units of the "
        "data\n"
        f"{result.steps} steps in {result.seconds:.1f} s, stopped by {result.stopped_by}; "
        f"model written to {output}",
    )


def fit_mixed(
    answer: Answer,
    frame: pl.DataFrame,
    output: str,
    *,
    kinds: dict[str, str],
    first: list[str],
    time_budget: float | None,
    max_steps: int | None,
    seed: int,
    device: str,
) -> None:
    """Fit a FlowDensity to any columns of a table and write it."""
    import time

    from diffeo.cli.any_table import fit_any
    from diffeo.errors import one_of

    one_of("device", device, ("auto", "cpu"))
    begun = time.perf_counter()
    model = fit_any(
        frame, kinds=kinds, first=first, time_budget=time_budget, max_steps=max_steps, seed=seed
    )
    model.save(output)
    seconds, schema = time.perf_counter() - begun, model.schema_
    nats, error = model.held_out_nats_, model.held_out_error_
    facts: dict[str, Any] = {
        "held_out_log_prob": nats,
        "held_out_error": error,
        "rows": frame.height,
        "columns": list(model.order_),
        "kinds": schema.kinds,
        "columns_left_out": [column.name for column in schema.columns if column.coding is None],
        "seed": seed,
        "model": output,
        "seconds": seconds,
    }
    answer.give(
        facts,
        f"held-out log-likelihood {nats:.4f} ± {error:.4f} nats a row, in the units of the data\n"
        f"{frame.height} rows of {len(model.order_)} columns in {seconds:.1f} s; model written to {output}",
    )


def _say_what_is_modelled(answer: Answer, rows: TrainingRows) -> None:
    from diffeo.tables import listed

    names = rows.schema.names
    answer.remark(f"modelling {len(names)} column(s) of {len(rows.values)} rows: {listed(names)}")
    if rows.columns_left_out:
        answer.remark(f"columns left out: {listed(rows.columns_left_out)}")
    if rows.rows_left_out:
        answer.remark(f"rows left out, with a missing or infinite value: {rows.rows_left_out}")


def _facts(
    rows: TrainingRows, result: FitResult, config: TrainConfig, architecture: Any, validation: float
) -> dict[str, Any]:
    """Return what the model file records of its fit: nothing that differs from run to run, as times do."""
    return {
        "held_out_log_prob": -result.best_held_out_nats,
        "rows": len(rows.values),
        "rows_left_out": rows.rows_left_out,
        "columns_left_out": list(rows.columns_left_out),
        "validation": validation,
        "flow": architecture.flow,
        "steps": result.steps,
        "stopped_by": result.stopped_by,
        "seed": config.seed,
    }
