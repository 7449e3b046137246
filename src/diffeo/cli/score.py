"""``diffeo score``: the log-density of every row of a table."""

from __future__ import annotations

import heapq
import time
from enum import StrEnum
from typing import Annotated, Any

import typer

from diffeo.cli.answer import answering
from diffeo.cli.counting import counting
from diffeo.cli.options import Data, Device, Json, Model, Table

_LOWEST = 5


#: Rows that are read and scored at a time.
_BATCH = 65536


class Missing(StrEnum):
    """What to do with rows that have a missing or infinite value."""

    refuse = "refuse"
    keep = "keep"


def score(
    model: Model,
    data: Data,
    output: Table = "-",
    missing: Annotated[
        Missing,
        typer.Option(
            help="Rows with a missing or infinite value: refuse them, or keep them (their score is "
            "missing, or -inf for an infinite value). A model of mixed columns scores missing values."
        ),
    ] = Missing.refuse,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Write the columns of the data too, before log_prob; from text to text as they are "
            "written.",
        ),
    ] = False,
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows read and scored at a time.")] = _BATCH,
    draws: Annotated[
        int | None, typer.Option(min=1, help="Of images: draws of noise each; 1 if nothing is said.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of images that have both: train or test.")] = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Write log p(x) of every row, in nats and in the units of the data, as a column log_prob.

    Columns are matched by name; others are ignored. Rows stay in order and are streamed: the table may be
    larger than the memory. Of images, bits per dimension are written too, with each image's name.
    """
    with answering(json, data_on_stdout=output == "-") as answer:
        from diffeo.cli.images import holds_images, score_images
        from diffeo.errors import ConfigError

        if holds_images(model):
            _check_ways(json, output)
            of_tables = {"--append": append, "--missing": missing is not Missing.refuse}
            of_tables["--batch-rows"] = batch_rows != _BATCH
            if given := [name for name, value in of_tables.items() if value]:
                raise ConfigError(
                    f"{', '.join(given)} cannot be given with a model of images; expected options of "
                    "it: leave them out."
                )
            score_images(answer, model, data, output, draws=draws or 1, split=split, device=device)
            return
        if draws is not None or split is not None:
            raise ConfigError(
                "--draws and --split are of images, and the model is of a table: leave them out."
            )
        facts = _score(model, data, output, missing, append, batch_rows, device, json, answer.remark)
        answer.give(facts, _text(facts))


def _text(facts: dict[str, Any]) -> str:
    lowest = ", ".join(f"row {row['row']} ({row['log_prob']:.3f})" for row in facts["lowest"])
    speed = facts["rows"] / max(facts["seconds"], 1e-9)
    text = (
        f"{facts['rows']} rows scored, mean {facts['mean_log_prob']:.4f} nats a row; "
        f"least likely: {lowest or 'none'}\n{facts['seconds']:.1f} s, {speed:,.0f} rows/s"
    )
    if facts["rows_without_score"]:
        text += f"; {facts['rows_without_score']} row(s) have no finite score, and are not in the mean"
    return text


def _score(
    model: str,
    data: str,
    output: str,
    missing: Missing,
    append: bool,
    batch_rows: int,
    device: str,
    as_json: bool,
    remark: Any,
) -> dict[str, Any]:
    import numpy as np
    import polars as pl

    from diffeo.cli.any_table import columns_read, scored, unused_in
    from diffeo.cli.choices import not_over
    from diffeo.cli.model_file import load_density
    from diffeo.errors import DataError
    from diffeo.tables import TableModel, iter_batches, listed, open_writer
    from diffeo.tables.numbers import check_finite, to_numbers, with_numbers
    from diffeo.tables.sources import is_delimited
    from diffeo.tables.write import check_writable

    _check_ways(as_json, output)
    not_over(output, DATA=data, MODEL=model)
    check_writable(output)
    started = time.perf_counter()
    density = load_density(model, device)
    names = density.schema.names if isinstance(density, TableModel) else columns_read(density)
    rows, finite, total = 0, 0, 0.0
    lowest: list[tuple[float, int]] = []
    unused: tuple[str, ...] = ()
    with counting("scoring") as advance, open_writer(output) as write:
        for given in iter_batches(data, (), batch_rows):
            frame = with_numbers(given, names) if is_delimited(data) else given
            if rows == 0:
                unused = unused_in(density, frame.columns)
                if unused and not append:
                    remark(f"columns that the model does not use: {listed(unused)}")
                if append and "log_prob" in frame.columns:
                    raise DataError(
                        "column 'log_prob' is already in the data; rename it, or leave out --append."
                    )
            if isinstance(density, TableModel):
                values = to_numbers(frame, names, rows + 1)
                if missing is Missing.refuse:
                    check_finite(values, names, rows + 1, "To score the others, pass --missing keep.")
                scores = density.score(values)
            else:
                scores = scored(density, frame, rows + 1)
            column = pl.Series("log_prob", scores)
            if append and is_delimited(data):
                given = with_numbers(given, _appended(density, output))
            write(given.with_columns(column) if append else column.to_frame())
            known = np.flatnonzero(np.isfinite(scores))
            total, finite = total + float(scores[known].sum()), finite + len(known)
            ranked = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")[:_LOWEST]
            candidates = [(float(scores[k]), rows + int(k) + 1) for k in ranked if not np.isnan(scores[k])]
            lowest = heapq.nsmallest(_LOWEST, lowest + candidates)
            rows += frame.height
            advance(frame.height)
    return {
        "rows": rows,
        "rows_without_score": rows - finite,
        "mean_log_prob": total / finite if finite else float("nan"),
        "lowest": [{"row": row, "log_prob": value} for value, row in lowest],
        "unused_columns": list(unused),
        "output": output,
        "seconds": time.perf_counter() - started,
    }


def _appended(density: Any, output: str) -> list[str]:
    """Return the columns of text that are written as numbers: to a format that has any, the amounts.

    Labels stay text, whose batches might be of different types, but in an array, which has no text.
    """
    from diffeo.cli.any_table import amounts_in, columns_read
    from diffeo.tables import TableModel
    from diffeo.tables.sources import is_delimited

    if is_delimited(output):
        return []
    if isinstance(density, TableModel):
        return list(density.schema.names)
    return columns_read(density) if output.lower().endswith(".npy") else amounts_in(density)


def _check_ways(as_json: bool, output: str) -> None:
    from diffeo.errors import ConfigError

    if as_json and output == "-":
        raise ConfigError(
            "--json prints one object on standard output, so the scores need a file: -o FILE."
        )
