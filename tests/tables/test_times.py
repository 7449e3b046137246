"""Times written as text: the unit that they are counted in."""

import datetime

import polars as pl
import pytest

from diffeo.tables.times import parse_times

NEVER = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)


@pytest.mark.parametrize("digits", ["9999999", "99999999", "999999999"])
def test_digits_beyond_six_do_not_wrap_years_that_nanoseconds_do_not_reach(digits):
    texts = ["0001-01-01 00:00:00.0000000", "1969-12-31T23:59:59.1234567", f"9999-12-31 23:59:59.{digits}"]
    found = parse_times(pl.Series([*texts, None]))
    before = datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)
    assert found.dtype == pl.Datetime("us")
    assert found.to_list() == [datetime.datetime(1, 1, 1), before, NEVER, None]


def test_instants_at_the_ends_of_nanoseconds_keep_their_year():
    texts = ["1678-01-01 00:00:00.0000001+23:59", "2261-12-31 23:59:59.9999999-23:59"]
    found = parse_times(pl.Series(texts))
    assert found.dtype == pl.Datetime("ns", "UTC")
    assert found.dt.year().to_list() == [1677, 2262]
    far = parse_times(pl.Series(["2262-01-01 00:00:00.0000001Z", "1700-01-01 00:00:00.5+01:00"]))
    assert far.dtype == pl.Datetime("us", "UTC")
    assert far.dt.year().to_list() == [2262, 1699]
