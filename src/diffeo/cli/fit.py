"""``diffeo fit``: learn the density of a table."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffeo.cli.answer import Answer, answering
from diffeo.cli.options import Data, Device, Json, Seed

if TYPE_CHECKING:
    from diffeo.tables import TrainingRows
    from diffeo.training import FitResult, TrainConfig


class Treatment(StrEnum):
    """What to do about what cannot be modelled."""

    refuse = "refuse"
    drop = "drop"


class Kind(StrEnum):
    """The flows to choose from."""

    realnvp = "realnvp"
    nice = "nice"


_COLUMNS, _FLOW, _TRAINING = "Columns and rows", "The flow", "Training"


def fit(
    data: Data,
    output: Annotated[str, typer.Option("--output", "-o", help="The model file to write (.safetensors).")],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Model only this column; repeat, or separate by commas.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            help="Leave this column out; repeat, or separate by commas.", rich_help_panel=_COLUMNS
        ),
    ] = None,
    missing: Annotated[
        Treatment,
        typer.Option(
            help="Rows with missing or infinite values: refuse them, or drop them and say how many.",
            rich_help_panel=_COLUMNS,
        ),
    ] = Treatment.refuse,
    constant: Annotated[
        Treatment,
        typer.Option(
            help="Constant columns: refuse them, or drop them and say which.", rich_help_panel=_COLUMNS
        ),
    ] = Treatment.refuse,
    flow: Annotated[Kind, typer.Option(help="The architecture.", rich_help_panel=_FLOW)] = Kind.realnvp,
    couplings: Annotated[
        int | None, typer.Option(min=1, help="Coupling layers.", rich_help_panel=_FLOW)
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(help="Hidden widths of each conditioner, as 128,128.", rich_help_panel=_FLOW),
    ] = None,
    validation: Annotated[
        float,
        typer.Option(
            help="The share of rows held out, for early stopping and the figure reported (at most 50,000).",
            rich_help_panel=_TRAINING,
        ),
    ] = 0.1,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="At most so many passes.", rich_help_panel=_TRAINING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Rows in a step.", rich_help_panel=_TRAINING)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The largest learning rate.", rich_help_panel=_TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes without a better held-out figure before stopping.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="Stop training after so many seconds.", rich_help_panel=_TRAINING)
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Keep the state of training in this file, and go on from it if it exists: after a kill or "
            "Ctrl-C, with the same data and settings.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Learn p(x) of the rows of a table by maximum likelihood, and write the model.

    Every column is modelled, so every column must be numeric: choose with --columns and --drop. The model
    file carries the columns and the preprocessing; its scores are in the data's own units.
    """
    with answering(json) as answer:
        from diffeo.cli.choices import names_in, not_over, widths
        from diffeo.tables import Architecture, fit_table, read_table, table_training, training_rows

        _check_output(output)
        not_over(output, DATA=data, **{"of --checkpoint": checkpoint or ""})
        architecture = Architecture(flow.value, couplings, widths(hidden))
        given: dict[str, Any] = {
            "max_epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "patience": patience,
            "time_budget": time_budget,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        config = table_training(seed=seed, device=device, **chosen)
        frame = read_table(data)
        rows = training_rows(
            frame,
            columns=names_in("--columns", columns, frame.columns),
            drop=names_in("--drop", drop, frame.columns) or (),
            missing=missing.value,
            constant=constant.value,
        )
        del frame
        _say_what_is_modelled(answer, rows)
        if sys.stderr.isatty():
            answer.remark(
                "(while training, nats of the standardised columns; at the end, of the data's units)"
            )
        model, result = fit_table(
            rows, architecture=architecture, validation=validation, config=config, checkpoint=checkpoint
        )
        facts = _facts(rows, result, config, architecture, validation)
        model.save(output, extra=facts)
        answer.give(
            {**facts, "model": output, "seconds": result.seconds, "columns": list(rows.schema.names)},
            f"held-out log-likelihood {-result.best_held_out_nats:.4f} nats a row, in the units of the "
            "data\n"
            f"{result.steps} steps in {result.seconds:.1f} s, stopped by {result.stopped_by}; "
            f"model written to {output}",
        )


def _check_output(output: str) -> None:
    from pathlib import Path

    from diffeo.errors import ConfigError, FileError

    target = Path(output)
    if output == "-":
        raise ConfigError(
            "-o - is not possible: a model is a binary file; give it a name, as model.safetensors."
        )
    if target.is_dir() or not target.parent.is_dir():
        raise FileError(
            f"-o {output!r} cannot be written: it is a folder, or {str(target.parent)!r} is not one. "
            "Choose a file in a folder that exists."
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
