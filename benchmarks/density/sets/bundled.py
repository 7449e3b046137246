"""The sets that scikit-learn brings along."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.density.protocol import Table
from benchmarks.density.sets.source import Source, numbers

NAMES = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")


def sources() -> list[Source]:
    """Return the sets: numbers of each, and as they are those whose columns are counts."""
    return [
        *(Source(name.replace("_", " "), partial(table, name)) for name in NAMES),
        *(Source(name, partial(frame, name), native=True) for name in ("iris", "linnerud", "digits")),
    ]


def table(name: str, folder: Path) -> Table:
    """Return the features."""
    found = _bunch(name)
    x, columns = found.data, found.feature_names
    if name == "linnerud":
        import numpy as np

        return numbers(np.hstack([x, found.target]), [*columns, *found.target_names])
    return numbers(x, columns)


def frame(name: str, folder: Path) -> pl.DataFrame:
    """Return features and target, categories by their names."""
    found = _bunch(name)
    rows = pl.DataFrame({str(c): found.data[:, k] for k, c in enumerate(found.feature_names)})
    if name == "linnerud":
        return rows.with_columns(
            **{str(c): pl.Series(found.target[:, k]) for k, c in enumerate(found.target_names)}
        )
    return rows.with_columns(target=pl.Series([str(found.target_names[k]) for k in found.target]))


def _bunch(name: str) -> Any:
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")()
