"""p(rest | first columns): a fitted density with its first columns fixed."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffeo.errors import ConfigError, at_least, did_you_mean
from diffeo.estimator.fitted import Fitted
from diffeo.estimator.inputs import as_python, random_seed
from diffeo.tables.frames.objects import absent
from diffeo.tables.schema import Schema
from diffeo.tables.variable import Encoded, Variable


class Given:
    """p(other columns | fixed columns), exactly: what ``FlowDensity.conditional`` returns.

    log p(x | fixed) = log p(x) − log p(fixed), and the density of the first columns of an autoregressive
    model is its first factors.
    """

    def __init__(self, density: Fitted, fixed: Mapping[str, Any], prefix: Encoded) -> None:
        self._density, self.fixed, self._prefix = density, dict(fixed), prefix

    def __repr__(self) -> str:
        """Return what is fixed."""
        return f"Given({', '.join(f'{name}={value!r}' for name, value in self.fixed.items())})"

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return log p(the other columns | the fixed ones), in nats, for rows of all columns.

        Rows whose fixed columns hold another value have log-density −inf.
        """
        joint, wanted = self._density.joint, self._prefix
        rows = self._density.schema.encode(X)
        if joint.given:
            context = wanted.columns(slice(0, joint.given)).rows(np.zeros(len(rows), np.int64))
            rows = Encoded.join([context, rows])
        a = rows.columns(joint.ordered)
        count, begin = wanted.state.shape[1], joint.given
        here = a.columns(slice(begin, count))
        fixed = wanted.columns(slice(begin, count))
        same = (here.state == fixed.state) & (
            (here.value == fixed.value) | (np.isnan(here.value) & np.isnan(fixed.value))
        )
        assert joint.mixed is not None
        kept = same.all(1)
        before = np.where(kept, joint.mixed.log_prob(a, count), 0.0)
        return np.where(kept, joint.log_prob(rows) - before, -np.inf)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows of all columns, the fixed ones as they are."""
        n_samples = as_python(n_samples)
        at_least("n_samples", n_samples, 1)
        prefix = self._prefix.rows(np.zeros(n_samples, np.int64))
        return self._density.drawn(n_samples, random_seed(random_state), prefix)


def given(density: Fitted, context: Any, fixed: Mapping[str, Any]) -> Given:
    """Return the density with columns fixed; see ``FlowDensity.conditional``."""
    leading, order = density.leading, density.order
    unknown = [name for name in fixed if name not in order]
    if unknown or not fixed:
        named = f"column {unknown[0]!r} is none of the model's" if unknown else "no column is fixed"
        raise ConfigError(
            f"{named}; expected some of {', '.join(map(repr, order))}, as conditional({order[0]}=…)."
            f"{did_you_mean(unknown[0], order) if unknown else ''}"
        )
    if set(leading[: len(fixed)]) != set(fixed):
        one_by_one = ", ".join(map(repr, leading)) or "none"
        raise ConfigError(
            f"columns {', '.join(map(repr, fixed))} are not the first of those that the model has one "
            f"after another ({one_by_one}), and only those can be fixed exactly: fit with "
            f"first={list(fixed)!r}, or fill the other columns with impute."
        )
    prefix = _one_row(density.schema, fixed, leading[: len(fixed)])
    before = density.prefix(context)
    if before is not None and len(before) != 1:
        raise ConfigError(f"context has {len(before)} rows; expected one, which all draws are under.")
    return Given(density, fixed, prefix if before is None else Encoded.join([before, prefix]))


def _one_row(schema: Schema, fixed: Mapping[str, Any], names: list[str]) -> Encoded:
    """Return the fixed cells of one row, encoded, in the order of ``names``."""
    order = [variable.name for variable in schema.variables]
    columns = [order.index(name) for name in names]
    # A row that the schema can have, so that the table has the right types; then the fixed cells.
    state = np.zeros((1, len(order)), np.int64)
    value = np.array([[_some(variable) for variable in schema.variables]])
    row = _with_left_out(schema, schema.decode(Encoded(state, value)))
    for name, given in fixed.items():
        try:
            row = _placed(row, schema, name, given)
        except Exception as error:
            raise ConfigError(
                f"{name}={given!r:.60} cannot be a value of column {name!r} ({error}); expected one as in "
                "fit: convert it."
            ) from error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        encoded = schema.encode(row).columns(columns)
    for k, name in enumerate(names):
        number, asked = encoded.value[0, k], fixed[name]
        other = isinstance(asked, int | float) and not np.isnan(number) and not _same(number, asked)
        if encoded.state[0, k] < 0 or other or caught:
            raise ConfigError(
                f"{name}={fixed[name]!r:.60} has density 0 in column {name!r}: {schema[name].about}; "
                "expected a value as in fit."
            )
    return encoded


def _with_left_out(schema: Schema, row: Any) -> Any:
    """Return an array of all columns, those that are left out (identifiers) empty; a frame as it is."""
    kept = [k for k, column in enumerate(schema.columns) if column.coding is not None]
    if schema.library != "numpy" or len(kept) == len(schema.columns):
        return row
    whole = np.zeros((len(row), len(schema.columns)), dtype=row.dtype)
    whole[:, kept] = row
    return whole


def _some(variable: Variable) -> float:
    if not variable.numeric:
        return np.nan
    if variable.lattice:
        return variable.origin
    low, high = variable.low, variable.high
    if low is not None and high is not None:
        return 0.5 * low + 0.5 * high
    return low + 1.0 if low is not None else high - 1.0 if high is not None else 0.0


def _placed(row: Any, schema: Schema, name: str, given: Any) -> Any:
    """Return the one-row table with a cell changed."""
    given = _asked(given, getattr(schema[name].coding, "sort", ""))
    if schema.library == "numpy":
        place = [column.name for column in schema.columns].index(name)
        row[0, place] = given
        if not _same(row[0, place], given):
            raise ValueError(f"an array of {row.dtype} holds {row[0, place]!r} for it")
        return row
    if schema.library == "pandas":
        key = schema[name].key
        column = row[key].copy()
        if isinstance(given, datetime.date):
            column = type(column)([given], index=column.index, dtype=column.dtype)
            _refuse_another_time(column.iloc[0], given)
        else:
            column.iloc[0] = given
        row[key] = column
        return row
    import polars as pl

    frame: Any = row if isinstance(row, pl.DataFrame) else pl.from_arrow(row)
    dtype = frame.schema[name]
    # polars gives a series of times with a zone that zone, whatever type is asked for.
    frame = frame.with_columns(
        pl.Series(name, [given], dtype=dtype, strict=False).cast(dtype, strict=False)
    )
    if isinstance(given, datetime.date):
        _refuse_another_time(frame[name][0], given)
    elif given is not None and not _same(frame[name][0], given):
        raise ValueError(f"a column of {frame.schema[name]} holds {frame[name][0]!r} for it")
    return frame if schema.library == "polars" else frame.to_arrow()


def _asked(given: Any, sort: str) -> Any:
    """Return a value of Python, None for a hole; for a column of times also of text in ISO 8601."""
    if absent(given) or (isinstance(given, np.datetime64 | np.timedelta64) and np.isnat(given)):
        return None
    if isinstance(given, np.datetime64 | np.timedelta64):
        micro = given.astype(f"{'datetime64' if isinstance(given, np.datetime64) else 'timedelta64'}[us]")
        return micro.item() if micro == given else given
    given = as_python(given)
    if sort == "datetime" and isinstance(given, str):
        return datetime.datetime.fromisoformat(given)
    if sort in ("datetime", "duration") and isinstance(given, int | float):
        raise ValueError("a number is no date, time or length of time")
    return given


def _same(kept: Any, asked: Any) -> bool:
    """Return whether a column kept what was asked for: NaN as a hole, a number in its own precision."""
    if kept == asked or asked != asked:
        return True
    return isinstance(asked, float) and (kept == np.float32(asked) or np.float32(kept) == asked)


def _refuse_another_time(kept: Any, asked: datetime.date) -> None:
    """Raise ValueError where a column of dates or times kept another moment than the one asked for.

    A day is its midnight. A time with a zone and one without are never the same.
    """
    zoned = [getattr(moment, "tzinfo", None) is not None for moment in (kept, asked)]
    if zoned[0] != zoned[1]:
        has, have = ("a", "none") if zoned[1] else ("no", "one")
        raise ValueError(f"it has {has} time zone and the column's times have {have}")
    if _moment(kept) != _moment(asked):
        raise ValueError(f"the column holds {kept!r} for it")


def _moment(day: Any) -> Any:
    if not isinstance(day, datetime.datetime):
        return datetime.datetime.combine(day, datetime.time())
    return day.astimezone(datetime.UTC) if day.tzinfo is not None else day
