"""Groups as text: what tells them apart, and what a population is keyed by."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

import diffeo
from diffeo.understanding.groups import grouped
from diffeo.understanding.labels import as_label
from diffeo.understanding.representation import population_shares
from diffeo.understanding.subject import Subject

DAY, LATER = datetime.date(2024, 3, 9), datetime.date(2024, 3, 10)
AT = datetime.datetime(2024, 3, 9, 7, 30, 0, 500_000)


def groups_of(column):
    """Return the groups of a column of two values, beside one of a model's that does not know it."""
    a = np.random.default_rng(0).normal(size=60)
    model = diffeo.FlowDensity("gaussian", max_steps=1, random_state=0).fit(pl.DataFrame({"a": a}))
    table = pl.DataFrame({"a": a}).with_columns(g=column)
    return grouped(Subject.of(model, "it"), table, "g", None, 0)


def two(*values, dtype=None):
    return pl.Series([values[k % 2] for k in range(60)], dtype=dtype)


COLUMNS = {
    "days": (two(DAY, LATER), {"2024-03-09", "2024-03-10"}, (DAY, LATER)),
    "midnights": (
        two(DAY, LATER).cast(pl.Datetime("ns")),
        {"2024-03-09", "2024-03-10"},
        (pd.Timestamp(DAY), np.datetime64("2024-03-10")),
    ),
    "times": (
        two(AT, AT.replace(microsecond=0)),
        {"2024-03-09T07:30:00.5", "2024-03-09T07:30:00"},
        (AT, np.datetime64("2024-03-09T07:30")),
    ),
    "instants": (
        two(AT, AT.replace(hour=0, minute=0, microsecond=0)).dt.replace_time_zone("Europe/Zurich"),
        {"2024-03-09T06:30:00.5Z", "2024-03-08T23:00:00Z"},
        (AT.replace(hour=6, tzinfo=datetime.UTC), pd.Timestamp("2024-03-09", tz="Europe/Zurich")),
    ),
    "spans": (
        two(datetime.timedelta(hours=1), datetime.timedelta(milliseconds=1500)),
        {"3600 s", "1.5 s"},
        (datetime.timedelta(hours=1), pd.Timedelta("1.5s")),
    ),
    "names": (two(2**60, 2**60 + 1), {str(2**60), str(2**60 + 1)}, (2**60, np.int64(2**60 + 1))),
    "whole": (two(10**12, 10**12 + 1), {str(10**12), str(10**12 + 1)}, (1e12, 10**12 + 1)),
    "decimals": (two(Decimal("1.50"), Decimal("2.00")), {"1.5", "2"}, (1.5, 2)),
    "floats": (two(0.1, 3.0), {"0.1", "3"}, (np.float64(0.1), 3)),
    "holes": (two("f", None), {"f", "missing"}, ("f", "missing")),
    "no text": (two("f", ""), {"f", ""}, ("f", "")),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_groups_are_told_apart_and_are_keys_of_a_population(case):
    column, labels, keys = COLUMNS[case]
    groups = groups_of(column)
    assert set(groups.labels) == labels
    for given in (keys, labels):
        assert set(population_shares(groups, dict.fromkeys(given, 1.0)).values()) == {0.5}


def test_a_group_may_be_any_object():
    assert [as_label(v) for v in (np.True_, float("inf"), 1e300, np.str_("x"), None)] == [
        "True",
        "inf",
        "1e+300",
        "x",
        "None",
    ]
