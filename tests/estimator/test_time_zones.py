"""Instants of a time zone and civil times of some place are never taken for one another."""

import datetime as dt
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest

from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.tables import Schema

_DRAWS = np.random.default_rng(0)
CIVIL = pl.DataFrame(
    {
        "t": [dt.datetime(2024, 1, 1) + dt.timedelta(hours=int(k)) for k in _DRAWS.integers(0, 48, 200)],
        "x": _DRAWS.normal(size=200),
    }
)
ZONED = CIVIL.with_columns(pl.col("t").dt.replace_time_zone("Europe/Berlin"))
DAYS = CIVIL.with_columns(pl.col("t").dt.date())
LIBRARIES = {"polars": lambda f: f, "pandas": lambda f: f.to_pandas(), "pyarrow": lambda f: f.to_arrow()}
NOON = dt.datetime(2024, 1, 1, 12)
ABROAD = NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))


FRAMES = {"civil": CIVIL, "zoned": ZONED, "days": DAYS}


@cache
def _fitted(name, library):
    frame = LIBRARIES[library](FRAMES[name])
    return FlowDensity("gaussian", first=["t"], max_steps=3, random_state=0).fit(frame)


@pytest.mark.parametrize("kind", ["datetime", "categorical"])
@pytest.mark.parametrize("given", LIBRARIES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_table_with_a_zone_and_one_without_are_not_compared(library, given, kind):
    table = LIBRARIES[given]
    zoned = Schema.infer(LIBRARIES[library](ZONED), kinds={"t": kind})
    civil = Schema.infer(LIBRARIES[library](CIVIL), kinds={"t": kind})
    with pytest.raises(
        DataError, match=r"'t' now holds times without a time zone, as 20.*replace_time_zone"
    ):
        zoned.encode(table(CIVIL))
    with pytest.raises(
        DataError, match=r"'t' now holds times with a time zone, as 20.* UTC; .*tz_localize"
    ):
        civil.encode(table(ZONED))
    # The same instants by another clock are the same.
    abroad = ZONED.with_columns(pl.col("t").dt.convert_time_zone("Asia/Tokyo"))
    assert zoned.encode(table(abroad)).state.tolist() == zoned.encode(table(ZONED)).state.tolist()
    # A hole is of no zone, and a schema of an older file says nothing of any.
    empty = table(CIVIL[:3].with_columns(t=pl.lit(None, pl.Datetime("us"))))
    with pytest.warns(UserWarning, match="density|cannot be"):
        zoned.encode(empty)
    told = zoned.to_json()
    del told["columns"][0]["coding"]["zoned"]
    Schema.from_json(told).encode(table(CIVIL.with_columns(pl.col("t").dt.offset_by("-1h"))))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_schema_keeps_what_it_knows_of_zones_in_a_file(library, tmp_path):
    schema = Schema.infer(LIBRARIES[library](ZONED))
    schema.save(tmp_path / "schema.json")
    again = Schema.load(tmp_path / "schema.json")
    assert again == schema.detached()
    with pytest.raises(DataError, match="without a time zone"):
        again.encode(LIBRARIES[library](CIVIL))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("name", "asked", "drawn"),
    [
        ("civil", NOON, NOON),
        ("civil", np.datetime64("2024-01-01T12"), NOON),
        ("civil", dt.date(2024, 1, 1), dt.datetime(2024, 1, 1)),
        ("civil", ABROAD, None),
        ("zoned", ABROAD, ABROAD),
        ("zoned", NOON, None),
        ("zoned", np.datetime64("2024-01-01T12"), None),
        ("zoned", dt.date(2024, 1, 1), None),
        ("days", dt.date(2024, 1, 1), dt.date(2024, 1, 1)),
        ("days", dt.datetime(2024, 1, 1), dt.date(2024, 1, 1)),
        ("days", NOON, None),
        ("days", ABROAD, None),
    ],
)
def test_a_time_is_fixed_as_it_was_said_or_refused(library, name, asked, drawn):
    model = _fitted(name, library)
    if drawn is None:
        with pytest.raises(ConfigError, match="t="):
            model.conditional(t=asked)
        return
    draws = model.conditional(t=asked).sample(2, random_state=0)
    moment = draws["t"].to_pylist()[0] if library == "pyarrow" else draws["t"][0]
    if library == "pandas":  # which has days as times
        assert moment == pd.Timestamp(drawn)
    else:
        assert moment == drawn


def test_times_of_two_sorts_are_told_apart_as_categories():
    spans = pl.DataFrame({"t": [dt.timedelta(days=k % 3) for k in range(30)]})
    schema = Schema.infer(spans, kinds={"t": "categorical"})
    with pytest.raises(DataError, match="dates or times"):
        schema.encode(spans.with_columns(pl.col("t").cast(pl.Int64).cast(pl.Datetime("us"))))
