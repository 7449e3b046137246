"""Columns of dates and times in a report: as text that is read, not as seconds."""

import datetime
import json
import re

import numpy as np
import polars as pl
import pytest

from diffeo import FlowDensity
from diffeo.report import examine
from diffeo.report.subject import labels_of

ROWS, FIRST = 120, datetime.datetime(2023, 5, 1)


@pytest.fixture(scope="module")
def rows():
    draws = np.random.default_rng(0)
    days = [FIRST + datetime.timedelta(days=int(k)) for k in draws.integers(0, 400, ROWS)]
    times = [FIRST + datetime.timedelta(seconds=float(s)) for s in draws.uniform(0, 3e5, ROWS)]
    return pl.DataFrame(
        {
            "day": pl.Series(days).cast(pl.Date),
            "at": times,
            "term": pl.Series([FIRST, FIRST.replace(month=9)] * (ROWS // 2)),
            "a": draws.normal(size=ROWS),
        }
    )


@pytest.fixture(scope="module")
def found(rows):
    model = FlowDensity("gaussian", max_steps=1, random_state=0, kinds={"term": "categorical"}).fit(rows)
    late = pl.col("day") + pl.duration(days=300)
    return examine(model, rows.with_columns(late, pl.col("at").dt.offset_by("2d")))


def test_strange_cells_and_differences_are_told_as_times(found):
    told = [one["why"] for one in found.figures["strangest"]]
    times = [re.search(r"at = (\S+)", why).group(1) for why in told if "at =" in why]
    assert len(times) > 5
    assert all(FIRST < datetime.datetime.fromisoformat(time) < FIRST.replace(month=6) for time in times)
    assert "e+0" not in " ".join(told)
    (column,) = [one for one in found.figures["marginals"]["columns"] if one["name"] == "day"]
    assert re.match(r"the model is lower, median 202\d-\d\d-\d\d\S* for 202\d-\d\d-\d\d", column["said"])


def test_bins_are_of_days_or_of_minutes(found):
    section = next(one for one in found.sections if one.key == "columns")
    bins = {one.title: [row[0] for row in one.rows] for one in section.drawings}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d … \d{4}-\d\d-\d\d", label) for label in bins["day"])
    assert all(re.match(r"2023-0\d-\d\dT\d\d:\d\d … 2023-", label) for label in bins["at"])
    assert set(bins["term"]) == {"2023-05-01", "2023-09-01"}
    page = json.loads(json.dumps(found.payload))
    assert any(name.startswith("at (seconds from 2023-05-01T") for name in page["pairs"]["columns"])


def test_groups_of_large_numbers_are_told_apart():
    table = {"g": np.array([1234567.0, 1234568.0, np.nan, 0.5])}
    assert labels_of(table, "g").tolist() == ["1234567", "1234568", "(missing)", "0.5"]
