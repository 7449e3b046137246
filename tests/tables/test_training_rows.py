"""What may be modelled: each refusal names the column, the row and the remedy."""

import datetime
import decimal

import numpy as np
import polars as pl
import pytest

from diffeo.errors import ConfigError, DataError
from diffeo.tables import training_rows

ROWS = 40


def good(seed=0):
    return np.random.default_rng(seed).normal(size=ROWS)


def with_value(value, row=7, seed=0):
    column = good(seed).tolist()
    column[row - 1] = value
    return column


REFUSED = {
    "text": (
        {"a": good(), "b": ["red"] * ROWS},
        r"column 'b' \(String\) is not numeric: row 1 holds 'red'.*--drop b",
    ),
    "numbers with one text": (
        {"a": ["1.5"] * 6 + ["1,5"] + ["2"] * (ROWS - 7)},
        r"column 'a' \(String\) is not numeric: row 7 holds '1,5'",
    ),
    "several texts": (
        {"a": good(), "my b": ["u"] * ROWS, "c": ["v"] * ROWS},
        r"'my b'.*Neither are 'c'.*--drop 'my b' --drop c",
    ),
    "booleans": (
        {"a": [True, False] * (ROWS // 2)},
        r"column 'a' \(Boolean\) is not numeric: row 1 holds True",
    ),
    "dates": (
        {"a": [datetime.date(2020, 1, 1)] * ROWS},
        r"column 'a' \(Date\) is not numeric: row 1 holds datetime\.date\(2020, 1, 1\)",
    ),
    "lists": ({"a": [[1.0]] * ROWS}, r"column 'a' \(List\(Float64\)\) is not numeric"),
    "a missing value": (
        {"a": good(), "b": with_value(None)},
        r"column 'b' has a missing value in row 7 \(1 of 40.*--missing drop",
    ),
    "a NaN": ({"a": with_value(float("nan"))}, r"column 'a' has a missing value in row 7"),
    "an infinity": (
        {"a": with_value(float("-inf"), row=40)},
        r"column 'a' has an infinite value \(-inf\) in row 40",
    ),
    "no values at all": (
        {"a": good(), "b": [None] * ROWS},
        r"column 'b' has a missing value in row 1 \(40 of 40",
    ),
    "a constant column": (
        {"a": good(), "b": [3.5] * ROWS},
        r"column 'b' is constant: every row holds 3\.5.*--drop b.*--constant drop",
    ),
    "too few rows": ({"a": good()[:19]}, r"19 usable row\(s\) for 1 column\(s\); expected at least 20"),
    "too few rows for the columns": (
        {f"x{k}": good(k) for k in range(9)},
        r"40 usable row\(s\) for 9 column\(s\); expected at least 45",
    ),
    "thousands of columns": (
        {f"x{k}": good(k) for k in range(3000)},
        r"40 usable row\(s\) for 3000 column\(s\); expected at least 15000",
    ),
    "a column without a name": (
        {"": np.arange(ROWS), "a": good()},
        r"column 1 has no name.*name it in the header, or leave it out: drop=\[''\].*--drop ''",
    ),
    "no columns": ({}, "the data has no columns"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_modelled_is_refused(case):
    columns, message = REFUSED[case]
    with pytest.raises(DataError, match=message):
        training_rows(pl.DataFrame(columns))


def test_every_kind_of_number_is_accepted():
    whole = np.random.default_rng(0).permutation(ROWS)
    frame = pl.DataFrame(
        {
            "f32": pl.Series(good(), dtype=pl.Float32),
            "i8": pl.Series(whole, dtype=pl.Int8),
            "u64": pl.Series(whole[::-1] ** 2, dtype=pl.UInt64),
            "decimal": [decimal.Decimal(int(k) ** 3) / 8 for k in whole],
        }
    )
    rows = training_rows(frame)
    assert rows.values.dtype == np.float64
    assert rows.values.shape == (ROWS, 4)
    assert [column.dtype for column in rows.schema.columns][:3] == ["Float32", "Int8", "UInt64"]
    assert np.array_equal(rows.values[:, 3], whole**3 / 8)


def test_rows_with_missing_and_infinite_values_can_be_dropped_and_are_counted():
    frame = pl.DataFrame({"a": with_value(None), "b": with_value(float("inf"), row=9, seed=1)})
    rows = training_rows(frame, missing="drop")
    assert rows.rows_left_out == 2
    assert np.array_equal(rows.values, np.delete(frame.to_numpy(), [6, 8], axis=0))


def test_too_few_rows_after_dropping_says_so():
    frame = pl.DataFrame({"a": [*good()[:19].tolist(), *[None] * 21]})
    with pytest.raises(DataError, match=r"19 usable row\(s\) \(21 more have missing or infinite values\)"):
        training_rows(frame, missing="drop")


def test_constant_columns_can_be_dropped_and_are_named():
    frame = pl.DataFrame({"a": [1] * ROWS, "b": good(), "c": [0.0] * ROWS})
    rows = training_rows(frame, constant="drop")
    assert rows.schema.names == ("b",)
    assert rows.columns_left_out == ("a", "c")
    with pytest.raises(DataError, match="every column is constant"):
        training_rows(frame.select("a", "c"), constant="drop")


def test_columns_are_chosen_dropped_and_kept_in_the_order_asked_for():
    frame = pl.DataFrame({"a": good(0), "b": good(1), "c": ["x"] * ROWS})
    assert training_rows(frame, columns=["b", "a"]).schema.names == ("b", "a")
    assert training_rows(frame, drop=["c", "a"]).schema.names == ("b",)
    with pytest.raises(DataError, match=r"drop names 'aa', which is not a column.*Did you mean 'a'"):
        training_rows(frame, drop=["aa"])
    with pytest.raises(DataError, match="no column is left"):
        training_rows(frame, drop=["a", "b", "c"])


@pytest.mark.parametrize("argument", ["missing", "constant"])
def test_an_unknown_treatment_is_refused(argument):
    with pytest.raises(ConfigError, match=f"{argument}='drpo'.*Did you mean 'drop'"):
        training_rows(pl.DataFrame({"a": good()}), **{argument: "drpo"})


@pytest.mark.parametrize("values", [np.arange(400) % 7, np.repeat(np.arange(20.0), 3)])
def test_discrete_columns_are_warned_of(values):
    with pytest.warns(UserWarning, match=r"column 'n' \(\d+ distinct values in \d+ rows\) looks discrete"):
        training_rows(pl.DataFrame({"n": values}))


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
def test_columns_that_determine_each_other_are_warned_of(scale):
    a, b, c = good(0), good(1), good(2)
    frame = pl.DataFrame({"a": a, "b": b, "c": c, "sum": scale * (a - 2 * b)})
    with pytest.warns(UserWarning, match="determine each other") as caught:
        training_rows(frame)
    message = str(caught[0].message)
    assert all(repr(name) in message for name in ("a", "b", "sum"))
    assert "'c'" not in message


def test_good_rows_pass_without_a_word():
    frame = pl.DataFrame({"a": good(0), "b": good(1)})
    rows = training_rows(frame)  # a warning would be an error here
    assert np.array_equal(rows.values, frame.to_numpy())
    assert (rows.rows_left_out, rows.columns_left_out) == (0, ())
