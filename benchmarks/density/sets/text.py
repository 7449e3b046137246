"""Sets that lie in the folder of data as text (``.csv.gz``): their numbers, and as they are."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.density.protocol import Table
from benchmarks.density.sets.source import Source, numbers

#: UCI tables: numbers without a head.
UCI = [
    "abalone",
    "airfoil",
    "bike",
    "concrete",
    "energy",
    "gas_sensor_drift_class1",
    "keggdirected",
    "keggundirected",
    "parkinsons",
    "protein",
    "skillcraft",
    "sml",
    "winequality-red",
    "winequality-white",
]

#: Those that are measured as they are too, since categories, counts and rounded values are their nature.
UCI_NATIVE = [
    "abalone",
    "bike",
    "energy",
    "keggdirected",
    "keggundirected",
    "skillcraft",
    "winequality-red",
    "winequality-white",
]

ADULT = [
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
]

#: Columns of ProPublica's own analysis, and the date of the screening.
COMPAS = [
    "compas_screening_date",
    "sex",
    "age",
    "race",
    "juv_fel_count",
    "juv_misd_count",
    "juv_other_count",
    "priors_count",
    "days_b_screening_arrest",
    "c_charge_degree",
    "decile_score",
    "v_decile_score",
    "score_text",
    "is_recid",
    "two_year_recid",
]

COMPAS_FILE = "compas/compas-scores-two-years.csv.gz"
ADULT_FILE = "adult/adult-train.csv.gz"
HOUSING_FILE = "california_housing/housing.csv.gz"


def sources() -> list[Source]:
    """Return the sets."""
    return [
        *(Source(f"uci {name}", partial(uci, name), f"uci_small/{name}.csv.gz") for name in UCI),
        Source("california housing", partial(numeric, housing_frame), HOUSING_FILE),
        Source("adult", partial(numeric, adult_frame), ADULT_FILE),
        Source("compas", partial(numeric, compas_frame), COMPAS_FILE),
        Source("adult", adult_frame, ADULT_FILE, native=True),
        Source("compas", compas_frame, COMPAS_FILE, native=True),
        Source("compas, all columns", partial(compas_frame, every=True), COMPAS_FILE, native=True),
        Source("california housing", housing_frame, HOUSING_FILE, native=True),
        *(
            Source(f"uci {name}", partial(uci_frame, name), f"uci_small/{name}.csv.gz", native=True)
            for name in UCI_NATIVE
        ),
    ]


def numeric(read: Callable[[Path], pl.DataFrame], folder: Path) -> Table:
    """Return the numbers of a frame."""
    frame = read(folder).select(pl.selectors.numeric())
    return numbers(frame.cast(pl.Float64).fill_null(np.nan).to_numpy(), frame.columns)


def uci(name: str, folder: Path) -> Table:
    """Return the numbers of a UCI table, its target among them."""
    return numeric(partial(uci_frame, name), folder)


def uci_frame(name: str, folder: Path) -> pl.DataFrame:
    """Return a UCI table; columns are called by their place."""
    frame = pl.read_csv(folder / "uci_small" / f"{name}.csv.gz", has_header=False, infer_schema_length=None)
    return frame.rename({column: f"c{k}" for k, column in enumerate(frame.columns)})


def adult_frame(folder: Path) -> pl.DataFrame:
    """Return census records of both published parts, "?" as missing."""
    parts: list[pl.DataFrame] = []
    for part in ("train", "test"):
        path = folder / "adult" / f"adult-{part}.csv.gz"
        if path.exists():
            raw = pl.read_csv(path, has_header=False, new_columns=ADULT, infer_schema=False)
            parts.append(raw.with_columns(pl.all().str.strip_chars()))
    whole = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
    return (
        pl.concat(parts)
        .filter(pl.col("income").is_not_null())
        .with_columns(pl.col("income").str.strip_chars_end("."))
        .with_columns(pl.when(pl.all() != "?").then(pl.all()))
        .with_columns(pl.col(*whole).cast(pl.Int64))
    )


def compas_frame(folder: Path, every: bool = False) -> pl.DataFrame:
    """Return scores of recidivism: the columns of ProPublica's analysis, or every one."""
    frame = pl.read_csv(folder / COMPAS_FILE, infer_schema_length=None, try_parse_dates=True)
    return frame if every else frame.select(COMPAS)


def housing_frame(folder: Path) -> pl.DataFrame:
    """Return block groups of 1990, 207 holes among them."""
    return pl.read_csv(folder / HOUSING_FILE, infer_schema_length=None)
