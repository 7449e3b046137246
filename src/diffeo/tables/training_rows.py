"""The rows a density is fitted to: what is accepted, what is refused, and what is said about it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffeo.errors import DataError, one_of
from diffeo.tables.numbers import check_finite, drop_remedy, to_numbers
from diffeo.tables.numeric_schema import (
    NumericColumn,
    NumericSchema,
    check_frame,
    check_names,
    choose,
    listed,
)

if TYPE_CHECKING:
    import polars as pl

#: Below these a column of many rows counts as discrete.
_FEW_DISTINCT, _MANY_ROWS = 20, 200

#: The smallest eigenvalue of the correlation matrix below which columns count as dependent.
_COLLINEAR = 1e-9

#: Beyond this many columns dependence among them is not looked for (it costs D³).
_WIDE = 1000


@dataclass(frozen=True)
class TrainingRows:
    """Rows that a density can be fitted to, and what was left out to get them.

    Attributes:
        schema: the columns that are modelled.
        values: float64 (rows, columns), all finite.
        rows_left_out: rows left out because a value was missing or infinite.
        columns_left_out: columns left out, by request or because they are constant.
    """

    schema: NumericSchema
    values: np.ndarray
    rows_left_out: int = 0
    columns_left_out: tuple[str, ...] = ()


def training_rows(
    frame: pl.DataFrame,
    *,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    missing: str = "refuse",
    constant: str = "refuse",
) -> TrainingRows:
    """Check a table and return what a density is fitted to.

    At least max(20, 5 D) usable rows are needed for D columns. Warns (UserWarning) of columns that look
    discrete and of columns that determine each other: their continuous density has no upper bound.

    Args:
        frame: the table.
        columns: the columns to model; all if not given.
        drop: columns to leave out.
        missing: what to do about missing (null, NaN) and infinite values: "refuse", or "drop" the rows.
        constant: what to do about columns with a single value: "refuse", or "drop" them.

    Raises:
        DataError: with the column, the row and the remedy, if a column is not numeric or is constant, a
            value is missing or infinite, or there are too few rows.

    >>> import polars as pl
    >>> frame = pl.DataFrame({"a": range(30), "b": [None, *(k**2 for k in range(29))]})
    >>> rows = training_rows(frame, missing="drop")
    >>> rows.values.shape, rows.rows_left_out
    ((29, 2), 1)
    """
    one_of("missing", missing, ("refuse", "drop"))
    one_of("constant", constant, ("refuse", "drop"))
    check_frame(frame)
    check_names(frame.columns, "the data")
    names = choose(frame.columns, columns, drop)
    _check_named(frame.columns, names)
    values = to_numbers(frame, names)
    if missing == "refuse":
        remedy = "Leave such rows out (missing='drop', on the command line --missing drop), or the column."
        check_finite(values, names, 1, remedy)
    usable = np.isfinite(values).all(1)
    values = values[usable]
    _check_rows(len(values), int((~usable).sum()), names)
    flat = [k for k in range(len(names)) if values[:, k].min() == values[:, k].max()]
    if flat and constant == "refuse":
        raise DataError(_constant([names[k] for k in flat], float(values[0, flat[0]])))
    kept = [k for k in range(len(names)) if k not in set(flat)]
    if not kept:
        raise DataError(
            f"every column is constant ({listed(names)}); expected one that varies. Choose other columns."
        )
    values, names = np.ascontiguousarray(values[:, kept]), [names[k] for k in kept]
    _warn_discrete(values, names)
    _warn_dependent(values, names)
    schema = NumericSchema(tuple(NumericColumn(name, str(frame[name].dtype)) for name in names))
    left_out = tuple(name for name in frame.columns if name not in set(names))
    return TrainingRows(schema, values, int((~usable).sum()), left_out)


def _check_named(present: Sequence[str], names: Sequence[str]) -> None:
    if "" in names:
        raise DataError(
            f"column {list(present).index('') + 1} has no name (an index that was saved along, perhaps); "
            f"columns must have one: name it in the header, or leave it out: {drop_remedy([''])}."
        )


def _check_rows(usable: int, left_out: int, names: Sequence[str]) -> None:
    least = max(20, 5 * len(names))
    if usable < least:
        also = f" ({left_out} more have missing or infinite values)" if left_out else ""
        raise DataError(
            f"the data has {usable} usable row(s){also} for {len(names)} column(s); expected at least "
            f"{least}: the larger of 20 and 5 a column. Give more rows, or model fewer columns "
            "(columns=…, on the command line --columns)."
        )


def _constant(names: Sequence[str], value: float) -> str:
    also = f" So are {listed(names[1:])}." if names[1:] else ""
    return (
        f"column {names[0]!r} is constant: every row holds {value:g}, which has no density; expected "
        f"values that vary.{also} Leave it out ({drop_remedy(names)}), or all such columns "
        "(constant='drop', --constant drop)."
    )


def _warn_discrete(values: np.ndarray, names: Sequence[str]) -> None:
    rows, found = len(values), list[str]()
    for k, name in enumerate(names):
        distinct = len(np.unique(values[:, k]))
        if distinct < rows / 2 or (distinct < _FEW_DISTINCT and rows > _MANY_ROWS):
            found.append(f"{name!r} ({distinct} distinct values in {rows} rows)")
    if found:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        warnings.warn(
            f"column {', '.join(found[:8])}{more} looks discrete: the density of repeated values "
            "grows without bound as a flow sharpens around them, so compare scores with care, or "
            "leave the column out.",
            UserWarning,
            stacklevel=3,
        )


def _warn_dependent(values: np.ndarray, names: Sequence[str]) -> None:
    if not 1 < len(names) <= _WIDE:
        return
    # Divided by the largest magnitude first, so that values of 1e±300 neither overflow nor vanish.
    unit = values / np.abs(values).max(0)
    centred = unit - unit.mean(0)
    deviation = np.sqrt((centred**2).mean(0))
    centred /= np.where(deviation > 0, deviation, 1.0)
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    if eigenvalues[0] > _COLLINEAR:
        return
    weights = np.abs(vectors[:, 0])
    order: list[int] = np.argsort(-weights, kind="stable").tolist()
    involved = [names[k] for k in order if weights[k] > 0.05]
    warnings.warn(
        f"columns {listed(involved)} determine each other (a linear combination of them is constant): "
        f"their joint density has no upper bound. Leave one out: {drop_remedy(involved[:1])}.",
        UserWarning,
        stacklevel=3,
    )
