"""Tables of any columns on the command line: a FlowDensity fitted, fed with batches, drawn from."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

    from diffeo.estimator import FlowDensity
    from diffeo.tables import TableModel
    from diffeo.tables.columns import Column

#: Rows that are drawn at a time, and the largest seed that scikit-learn takes.
_DRAWN, _SEEDS = 65_536, 2**32


def kinds_in(given: Sequence[str] | None) -> dict[str, str]:
    """Return the kinds of ``--kind NAME=KIND``; the last ``=`` parts the two.

    >>> kinds_in(["zip=categorical", "a=b=count"])
    {'zip': 'categorical', 'a=b': 'count'}
    """
    kinds: dict[str, str] = {}
    for text in given or ():
        name, sign, kind = text.rpartition("=")
        if not sign or not name or not kind:
            raise ConfigError(
                f"--kind {text!r} is not NAME=KIND; expected a column and its kind, as --kind "
                "zip=categorical."
            )
        kinds[name] = kind
    return kinds


def beyond_numbers(frame: pl.DataFrame, names: Sequence[str]) -> str | None:
    """Return why these columns need a density of mixed columns, or None where all are plain numbers."""
    import polars as pl

    from diffeo.tables.frames.cells import EXACT

    for name in names:
        column = frame[name]
        if not column.dtype.is_numeric():
            return f"column {name!r} ({column.dtype}) is not numeric"
        if column.null_count() or (column.dtype.is_float() and column.is_nan().any()):
            return f"column {name!r} has missing values"
        floats = column.cast(pl.Float64)
        beyond = column.dtype.is_integer() and bool((floats.abs() >= EXACT).any())
        if beyond and floats.n_unique() < column.n_unique():
            return f"column {name!r} holds whole numbers beyond 2^53, which float64 cannot tell apart"
    return None


def fit_any(
    frame: pl.DataFrame,
    *,
    kinds: Mapping[str, str],
    first: Sequence[str],
    time_budget: float | None,
    max_steps: int | None,
    seed: int,
) -> FlowDensity:
    """Return the FlowDensity of a table; what is tried is told on standard error as it goes."""
    from diffeo.estimator import FlowDensity

    model = FlowDensity(
        time_budget=time_budget,
        kinds=kinds,
        first=first,
        max_steps=max_steps,
        random_state=_state(seed),
        verbose=True,
    )
    with contextlib.redirect_stdout(sys.stderr):
        return model.fit(frame)


def columns_read(model: FlowDensity) -> list[str]:
    """Return the columns whose text is read as numbers of 64 bits in a delimited file."""
    return [c.name for c in model.schema_.columns if _sort(c) == "number" and not _exact(c)]


def amounts_in(model: FlowDensity) -> list[str]:
    """Return the columns that are read as numbers, or else refused."""
    from diffeo.tables.columns.levels import LevelCoding

    levels = {c.name for c in model.schema_.columns if isinstance(c.coding, LevelCoding)}
    return [name for name in columns_read(model) if name not in levels]


def _exact(column: Column) -> bool:
    """Return whether a column's labels are decimals, or whole numbers that float64 cannot tell apart."""
    from diffeo.tables.frames.cells import EXACT

    labels = getattr(column.coding, "labels", ())
    decimal = getattr(column.coding, "sort", "") == "decimal"
    return bool(labels) and (decimal or any(abs(label) > EXACT for label in labels))


def typed_as(model: FlowDensity, frame: pl.DataFrame, first_row: int = 1) -> pl.DataFrame:
    """Return rows with their columns typed as those that the model was fitted to.

    Of labels that are numbers or truth values each cell is read by itself: what is none stays text, which
    is no label of the model's, and no other cell is read otherwise for it. ``first_row`` is the number of
    the frame's first row in the whole table, for messages.

    Raises:
        DataError: a cell in a column of amounts is no number, or one in a column of times no time.
    """
    import polars as pl

    from diffeo.tables.numbers import stripped_of

    for column in model.schema_.columns:
        if column.coding is None or column.name not in frame.columns:
            continue
        given, sort = frame[column.name], _sort(column)
        detail = getattr(column.coding, "unit" if sort == "datetime" else "sort", "")
        made: pl.Series | None = None
        if sort == "number" and given.dtype.is_float() and detail == "whole":
            whole = given.cast(pl.Int64, strict=False)
            made = whole if bool(((whole == given) | given.is_null()).all()) else None
        elif given.dtype != pl.String:
            continue
        elif sort == "number":
            made = _numbers(column, given, first_row)
        elif sort == "datetime":
            made = _times(stripped_of(given), detail)
            if made is None:
                raise _no_time(column.name, stripped_of(given), first_row)
        elif sort == "truth":
            made = _truths(given)
        if made is not None:
            frame = frame.with_columns(made.alias(column.name))
    return frame


def _numbers(column: Column, texts: pl.Series, first_row: int) -> pl.Series:
    import polars as pl

    from diffeo.tables.columns.levels import LevelCoding
    from diffeo.tables.numbers import each_number, parse_text, unreadable, whole_or_real

    made = whole_or_real(texts)
    if isinstance(column.coding, LevelCoding):
        if column.coding.sort == "decimal":
            return _decimals(texts, column.coding.decimals)
        # Floats would merge whole numbers that the labels tell apart.
        if made is None or (made.dtype.is_float() and _exact(column)):
            return pl.Series(each_number(texts), dtype=pl.Object)
        return made
    if made is None:
        at = unreadable(texts, parse_text(texts)).arg_max() or 0
        raise DataError(
            f"column {column.name!r} holds {texts[at]!r:.60} in row {first_row + at}; expected numbers, as "
            "when the model was fitted: mend that cell, or make it empty, which is a missing value."
        )
    return made


def _decimals(texts: pl.Series, decimals: int) -> pl.Series:
    """Return decimals; where some are none of these, as units of 10^−decimals, these being text."""
    from decimal import Decimal

    import polars as pl

    from diffeo.tables.numbers import each_number

    units = each_number(texts, decimals)
    if all(isinstance(unit, int | None) for unit in units):
        exact = [None if unit is None else Decimal(unit).scaleb(-decimals) for unit in units]
        return pl.Series(exact, dtype=pl.Object)
    mixed = [
        text if isinstance(unit, float) else unit for unit, text in zip(units, texts.to_list(), strict=True)
    ]
    return pl.Series(mixed, dtype=pl.Object)


def _times(texts: pl.Series, unit: str) -> pl.Series | None:
    """Return times; those of a model that counts in microseconds by their first six digits."""
    import polars as pl

    from diffeo.tables.times import parse_times

    if not len(texts.drop_nulls()):
        return texts.cast(pl.Date if unit == "D" else pl.Datetime("us"))
    made = parse_times(texts)
    fine = made is not None and getattr(made.dtype, "time_unit", "") == "ns"
    return made.dt.cast_time_unit("us") if made is not None and fine and unit == "us" else made


def _no_time(name: str, texts: pl.Series, first_row: int) -> DataError:
    """Return an error about the first cell that is no time of the form of those before it."""
    from diffeo.tables.times import parse_times

    fine, odd = 0, len(texts)  # rows that can be read together, and that cannot
    while odd - fine > 1:
        middle = (fine + odd) // 2
        known = bool(texts[:middle].is_not_null().any())
        fine, odd = (fine, middle) if known and parse_times(texts[:middle]) is None else (middle, odd)
    return DataError(
        f"column {name!r} holds {texts[fine]!r:.60} in row {first_row + fine}; expected dates or times, "
        "all of one form, as 2024-03-01 or 2024-03-01 09:30: mend that cell, or make it empty, which is a "
        "missing value."
    )


def _truths(texts: pl.Series) -> pl.Series:
    """Return truth values; where some are none, as objects, these being text."""
    import polars as pl

    from diffeo.tables.numbers import stripped_of

    stripped = stripped_of(texts)
    lower = stripped.str.to_lowercase()
    if bool((lower.is_in(["true", "false"]) | lower.is_null()).all()):
        return lower == "true"
    known: dict[str | None, bool] = {"true": True, "false": False}
    cells = zip(stripped.to_list(), lower.to_list(), strict=True)
    return pl.Series([known.get(low, text) for text, low in cells], dtype=pl.Object)


def read_as(model: FlowDensity, path: str) -> pl.DataFrame:
    """Return a whole table, typed as the one that the model was fitted to."""
    import polars as pl

    from diffeo.tables import iter_batches

    return typed_as(model, pl.concat(list(iter_batches(path, rows=2**20))))


def unused_in(model: FlowDensity | TableModel, present: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a table that the model does not read.

    Raises:
        DataError: one that it reads is absent.
    """
    from diffeo.tables import TableModel
    from diffeo.tables.numeric_schema import NumericColumn, NumericSchema

    if isinstance(model, TableModel):
        return model.schema.check(present)
    return NumericSchema(tuple(NumericColumn(name) for name in model.order_)).check(present)


def scored(model: FlowDensity, frame: pl.DataFrame, first_row: int = 1) -> np.ndarray:
    """Return log p of each row of a batch, whose first row is the table's ``first_row``."""
    return model.score_samples(typed_as(model, frame, first_row))


def samples(model: FlowDensity, rows: int, seed: int) -> Generator[pl.DataFrame]:
    """Yield drawn rows, some at a time, whatever library the model was fitted to; by seed the same rows."""
    density = model.density_
    if density.schema.library != "polars":
        columns = tuple(replace(c, key=c.name, storage={}) for c in density.schema.columns)
        density = replace(density, schema=replace(density.schema, library="polars", columns=columns))
    for k, start in enumerate(range(0, rows, _DRAWN)):
        own = int(np.random.default_rng([seed, k]).integers(2**62))
        yield density.drawn(min(_DRAWN, rows - start), own, None)


def flows_in(model: FlowDensity, rows: int, seed: int) -> list[tuple[str, Any, Any, Any]]:
    """Return the flows of the continuous columns, one fold of each, with what to verify them at.

    Each is its name, the flow, rows in the coordinates that it sees, and their contexts.
    """
    import torch

    from diffeo.distributions import FullMixture
    from diffeo.estimator.views import seen

    joint = model.density_.joint
    if joint.continuous is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        drawn = joint.sample(rows, seed)
    members, value = joint.continuous.model, joint.in_units(drawn)
    context = members.standard_context(joint.context_of(drawn.columns(joint.ordered)), len(value))
    found: list[tuple[str, Any, Any, Any]] = []
    for member in range(len(members.names)):
        place = members.flows_of(member)[0]
        flow = members.flow(place)
        if isinstance(flow.base, FullMixture):
            continue  # a mixture of normals: a formula, and no map
        u, _ = seen(members.view(place), value)
        points = torch.from_numpy(u).to(flow.dtype)
        found.append(
            (members.names[member], flow, points, None if context is None else context.to(flow.dtype))
        )
    return found


def _state(seed: int) -> int:
    return seed if seed < _SEEDS else int(np.random.default_rng(seed).integers(_SEEDS))


def _sort(column: Column) -> str:
    """Return what the text of a column stands for: "number", "datetime", "truth", or itself ("")."""
    sort = getattr(column.coding, "sort", "")
    if sort in ("float", "whole", "decimal"):
        return "number"
    if sort == "label":
        kinds = {type(label) for label in getattr(column.coding, "labels", ())}
        return "truth" if kinds == {bool} else "number" if kinds and kinds <= {int, float} else ""
    return sort if sort == "datetime" else ""
