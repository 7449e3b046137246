"""What is given to the estimator: arrays by scikit-learn's rules, frames by their columns."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from diffeo.errors import DataError, RowError
from diffeo.tables.frames.frame import array_of


def is_frame(data: Any) -> bool:
    """Return whether ``data`` is a frame of named columns: pandas, polars or Arrow."""
    import narwhals as nw

    frame = nw.from_native(data, pass_through=True)
    return isinstance(frame, nw.DataFrame | nw.LazyFrame)


def checked(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Return ``X`` as a frame, collected, or as a two-dimensional array, with its columns checked.

    ``reset`` notes number and names of the columns (``n_features_in_``, ``feature_names_in_``); otherwise
    they must be those of ``fit``.
    """
    if is_frame(X):
        frame = X.collect() if hasattr(X, "collect") else X
        if not _pandas(frame):
            return _named(estimator, frame, reset)
        _some_rows(frame)
        if reset or not _all_but_left_out(estimator, frame):
            validate_data(estimator, frame, reset=reset, skip_check_array=True)
        return frame
    rows: Any = X
    if isinstance(X, list | tuple):
        with contextlib.suppress(ValueError):  # of rows of different lengths, which are refused below
            rows = array_of(X)
    if not reset and _only_modelled(estimator, rows):
        kept: Any = check_array(rows, dtype=None, ensure_all_finite=False)  # pyright: ignore[reportArgumentType]
    else:
        kept = validate_data(
            estimator, rows, reset=reset, dtype=None, ensure_all_finite=False, accept_sparse=False
        )
    if kept.dtype.kind == "O":
        return kept
    if kept.dtype.kind == "f" and np.isinf(kept).any():
        raise DataError(
            "Input X contains infinity or a value too large; expected numbers, or NaN where one is absent: "
            "replace infinite values, or leave those rows out."
        )
    return kept


def as_python(value: Any) -> Any:
    """Return a number of numpy as one of Python, anything else as it is.

    >>> as_python(np.int64(3)), as_python("auto")
    (3, 'auto')
    """
    return value.item() if isinstance(value, np.generic) else value


def random_seed(random_state: Any) -> int:
    """Return a seed drawn from what scikit-learn calls a ``random_state``."""
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        check_random_state(cast(Any, random_state))
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def weights_of(sample_weight: Any, rows: int) -> NDArray[np.float64] | None:
    """Return the weights of rows, or None where none were given.

    Raises:
        DataError: they are not one finite number of at least 0 a row, or all are 0.
    """
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample_weight is no array of numbers ({error}); expected one a row.") from error
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    if weights.ndim != 1:
        raise DataError(
            f"Sample weights must be 1D array or scalar; sample_weight has shape {weights.shape}."
        )
    if len(weights) != rows:
        raise DataError(f"sample_weight.shape == {weights.shape}, expected ({rows},): one weight a row.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(
            "sample_weight has a value that is negative or not finite; expected at least 0 each."
        )
    if not weights.any():
        raise DataError("All sample weights are zero: sample_weight leaves no row to learn from.")
    return weights


@contextlib.contextmanager
def numbered_as(rows: NDArray[np.int64] | None) -> Generator[None]:
    """Let errors tell the numbers that rows had before ``rows`` were taken (None: all were)."""
    try:
        yield
    except RowError as error:
        raise (error if rows is None else error.renumbered(int(rows[error.row]))) from error.__cause__


def rows_at(data: Any, index: NDArray[np.int64]) -> Any:
    """Return some rows of a frame or an array, as what it was; None for None."""
    import narwhals as nw

    if data is None:
        return None
    if not is_frame(data):
        return array_of(data)[index]
    frame: Any = nw.from_native(data)
    return nw.to_native((frame.collect() if isinstance(frame, nw.LazyFrame) else frame)[index])


def _all_but_left_out(estimator: Any, frame: Any) -> bool:
    """Return whether a frame has the columns of ``fit`` in their order, those left out there or not."""
    columns = estimator.schema_.columns
    left_out = {column.name for column in columns if column.coding is None}
    given = [name for name in map(str, frame.columns) if name not in left_out]
    return bool(left_out) and given == [column.name for column in columns if column.coding is not None]


def _only_modelled(estimator: Any, X: Any) -> bool:
    """Return whether an array has a column for each that is modelled, and none for those left out."""
    columns = estimator.schema_.columns
    modelled = sum(column.coding is not None for column in columns)
    return modelled < len(columns) and np.ndim(X) == 2 and np.shape(X)[1] == modelled


def _some_rows(frame: Any) -> None:
    if frame.shape[0] < 1:
        raise DataError(
            f"Found array with 0 sample(s) (shape={frame.shape}) while a minimum of 1 is required: X is "
            "empty."
        )


def _pandas(frame: Any) -> bool:
    return type(frame).__module__.split(".")[0] == "pandas"


def _named(estimator: Any, frame: Any, reset: bool) -> Any:
    """Check a polars or Arrow frame, whose names scikit-learn does not read in every version."""
    names = [
        str(name) for name in getattr(frame, "columns" if hasattr(frame, "dtypes") else "column_names")
    ]
    _some_rows(frame)
    if reset:
        estimator.n_features_in_ = len(names)
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
        return frame
    wanted = list(estimator.schema_.order)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"X lacks the columns {missing}; expected {wanted}: pass the columns that fit was given."
        )
    return frame


def checked_latent(X: Any, columns: int) -> NDArray[np.float64]:
    """Return latent numbers as (rows, columns) of float64, or raise."""
    latent: Any = check_array(X, dtype=np.float64)  # pyright: ignore[reportArgumentType]
    if latent.shape[1] != columns:
        raise DataError(
            f"X has {latent.shape[1]} latent numbers a row; expected {columns}, one for each column "
            "modelled: pass what transform returned."
        )
    return latent
