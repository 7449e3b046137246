"""Every frame comes back as it was: library, names, order, dtypes, categories, holes, to the last bit."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffeo.errors import DataError
from diffeo.tables import Schema

TIMES = [dt.datetime(2020, 1, k + 1, 12, 30, k, 5) for k in range(6)]
DATES = [dt.date(2020, 1, k + 1) for k in range(6)]
SPANS = [dt.timedelta(seconds=k, microseconds=7) for k in range(6)]
FLOATS = [1.5, -2.25, 1 / 3, 4.0, 1e-300, 1e300]
WHOLE = [1, 2, 2, 4, 5, 5]
TEXT = ["a", "b", "ä", "b", "a", "c"]


def holed(values):
    return [*values, None]


PANDAS = {
    "float64": pd.Series(FLOATS),
    "float64, NaN": pd.Series([*FLOATS, np.nan]),
    "float32": pd.Series(FLOATS[:4], dtype="float32"),
    "float16": pd.Series([0.5, 0.1, 3.0], dtype="float16"),
    "int8": pd.Series(WHOLE, dtype="int8"),
    "uint64": pd.Series(WHOLE, dtype="uint64"),
    "uint64, beyond int64": pd.Series([2**64 - 1, 2**63, 2**63, 2**64 - 1], dtype="uint64"),
    "bool": pd.Series([True, False, True]),
    "Int64": pd.Series(holed(WHOLE), dtype="Int64"),
    "UInt8": pd.Series(holed(WHOLE), dtype="UInt8"),
    "Float64": pd.Series(holed(FLOATS), dtype="Float64"),
    "Float32": pd.Series(holed(FLOATS[:4]), dtype="Float32"),
    "boolean": pd.Series([True, False, None], dtype="boolean"),
    "str": pd.Series(holed(TEXT), dtype="str"),
    "string": pd.Series(holed(TEXT), dtype="string"),
    "string of Arrow": pd.Series(holed(TEXT), dtype=pd.StringDtype("pyarrow")),
    "object": pd.Series(holed(TEXT), dtype=object),
    "mixed object": pd.Series(["a", 1, True, 1.5, 0, "1"], dtype=object),
    "objects with NaN": pd.Series(["a", np.nan, "b"], dtype=object),
    "whole objects": pd.Series(holed(WHOLE), dtype=object),
    "big objects": pd.Series([10**30, 10**30, 5], dtype=object),
    "decimal objects": pd.Series([Decimal("1.50"), Decimal("2.25"), None], dtype=object),
    "category": pd.Series(pd.Categorical(holed(TEXT), categories=["c", "b", "a", "ä", "unused"])),
    "ordered category": pd.Series(pd.Categorical(TEXT, categories=["c", "b", "a", "ä"], ordered=True)),
    "category of numbers": pd.Series(pd.Categorical([3, 1, 3, None])),
    "category with one label": pd.Series(pd.Categorical(["a", "a"], categories=["b", "a"])),
    "datetime64[ns]": pd.Series(TIMES).astype("datetime64[ns]"),
    "datetime64[s]": pd.Series(DATES).astype("datetime64[s]"),
    "datetime64[us] with NaT": pd.Series([*TIMES, pd.NaT]).astype("datetime64[us]"),
    "zoned": pd.Series(TIMES).dt.tz_localize("Europe/Berlin"),
    "zoned over a change": pd.Series(pd.date_range("2020-03-28", periods=60, freq="h", tz="Europe/Berlin")),
    "timedelta": pd.Series(SPANS),
    "timedelta with NaT": pd.Series([*SPANS, pd.NaT]),
    "Arrow int": pd.Series(holed(WHOLE), dtype="int64[pyarrow]"),
    "Arrow double": pd.Series(holed(FLOATS), dtype="double[pyarrow]"),
    "Arrow string": pd.Series(holed(TEXT), dtype=pd.ArrowDtype(pa.string())),
    "Arrow bool": pd.Series([True, None, False], dtype="bool[pyarrow]"),
    "Arrow date": pd.Series(holed(DATES), dtype=pd.ArrowDtype(pa.date32())),
    "Arrow timestamp": pd.Series(holed(TIMES), dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
    "Arrow decimal": pd.Series(
        [Decimal("1.50"), Decimal("2.25"), None], dtype=pd.ArrowDtype(pa.decimal128(9, 2))
    ),
    "sparse": pd.Series(pd.arrays.SparseArray([0.0, 1.5, 0.0])),
    "constant": pd.Series([2.5, 2.5]),
    "constant with holes": pd.Series([2.5, np.nan]),
    "constant time": pd.Series([TIMES[0], TIMES[0]]),
    "all missing": pd.Series([np.nan, np.nan]),
    "all missing text": pd.Series([None, None], dtype="str"),
    "all missing category": pd.Series(pd.Categorical([None, None], categories=["a"])),
    "all missing times": pd.Series([pd.NaT, pd.NaT]),
}


@pytest.mark.parametrize("case", PANDAS)
def test_pandas_comes_back(case):
    frame = pd.DataFrame({"it": PANDAS[case]})
    schema = Schema.infer(frame)
    encoded = schema.encode(frame)
    assert (encoded.state >= 0).all()
    pd.testing.assert_frame_equal(schema.decode(encoded), frame, check_exact=True)
    again = Schema.from_json(schema.to_json())
    pd.testing.assert_frame_equal(again.decode(again.encode(frame)), frame, check_exact=True)
    assert schema.decode(encoded.rows(slice(0, 0))).dtypes["it"] == frame.dtypes["it"]


def test_pandas_keeps_names_and_order():
    frame = pd.DataFrame([[1.5, "a", 2], [2.5, "b", 3]], columns=[7, "größe ✓", "c"], index=[9, 4])
    schema = Schema.infer(frame)
    back = schema.decode(schema.encode(frame))
    pd.testing.assert_frame_equal(back, frame.reset_index(drop=True))
    shuffled = schema.encode(frame[["c", 7, "größe ✓"]])
    assert np.array_equal(shuffled.state, schema.encode(frame).state)


POLARS = {
    "Float64": pl.Series(holed(FLOATS)),
    "Float64, NaN": pl.Series([*FLOATS, float("nan")]),
    "Float32": pl.Series(FLOATS[:4], dtype=pl.Float32),
    "Int8": pl.Series(holed(WHOLE), dtype=pl.Int8),
    "UInt64": pl.Series([2**64 - 1, 1, 1, 2**64 - 1], dtype=pl.UInt64),
    "Int128": pl.Series([2**100, 1, 1, 2**100], dtype=pl.Int128),
    "Boolean": pl.Series([True, None, False]),
    "String": pl.Series(holed(TEXT)),
    "Categorical": pl.Series(holed(TEXT), dtype=pl.Categorical),
    "Enum": pl.Series(holed(TEXT), dtype=pl.Enum(["c", "b", "a", "ä", "unused"])),
    "Datetime": pl.Series(holed(TIMES)),
    "Datetime[ns]": pl.Series(TIMES, dtype=pl.Datetime("ns")),
    "zoned": pl.Series(TIMES, dtype=pl.Datetime("us", "Europe/Berlin")),
    "Date": pl.Series(holed(DATES)),
    "Duration": pl.Series(holed(SPANS)),
    "Decimal": pl.Series([Decimal("1.50"), None, Decimal("2.25")], dtype=pl.Decimal(9, 2)),
    "Null": pl.Series([None, None]),
    "all missing": pl.Series([None, None], dtype=pl.Float64),
    "all missing text": pl.Series([None, None], dtype=pl.String),
    "all missing Enum": pl.Series([None, None], dtype=pl.Enum(["a"])),
    "constant": pl.Series([2, 2]),
}


@pytest.mark.parametrize("case", POLARS)
@pytest.mark.parametrize("lazy", [False, True])
def test_polars_comes_back(case, lazy):
    frame = pl.DataFrame({"it": POLARS[case]})
    given = frame.lazy() if lazy else frame
    schema = Schema.infer(given)
    encoded = schema.encode(given)
    assert (encoded.state >= 0).all()
    back = schema.decode(encoded)
    assert back.schema == frame.schema
    assert back.equals(frame)
    again = Schema.from_json(schema.to_json())
    assert again.decode(again.encode(frame)).equals(frame)
    assert schema.decode(encoded.rows(slice(0, 0))).schema == frame.schema


ARROW = {
    "double": pa.array(holed(FLOATS)),
    "float": pa.array(FLOATS[:4], type=pa.float32()),
    "int8": pa.array(holed(WHOLE), type=pa.int8()),
    "uint64": pa.array([2**64 - 1, 1, 1, 2**64 - 1], type=pa.uint64()),
    "bool": pa.array([True, None, False]),
    "string": pa.array(holed(TEXT)),
    "large_string": pa.array(holed(TEXT), type=pa.large_string()),
    "dictionary": pa.array(holed(TEXT)).dictionary_encode(),
    "timestamp": pa.array(holed(TIMES)),
    "zoned": pa.array(TIMES, type=pa.timestamp("ns", "Europe/Berlin")),
    "date32": pa.array(holed(DATES)),
    "date64": pa.array(DATES, type=pa.date64()),
    "duration": pa.array(holed(SPANS)),
    "decimal128": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
    "null": pa.nulls(2),
    "all missing": pa.nulls(2, pa.float64()),
    "all missing text": pa.nulls(2, pa.string()),
}


@pytest.mark.parametrize("case", ARROW)
def test_arrow_comes_back(case):
    table = pa.table({"it": pa.chunked_array([ARROW[case][:1], ARROW[case][1:]])})
    schema = Schema.infer(table)
    encoded = schema.encode(table)
    assert (encoded.state >= 0).all()
    back = schema.decode(encoded)
    assert back.schema == table.schema
    assert back.to_pylist() == table.to_pylist()
    assert schema.decode(encoded.rows(slice(0, 0))).schema == table.schema


NUMPY = {
    "float64": np.random.default_rng(0).normal(size=(30, 3)),
    "float32": np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32),
    "float16": np.random.default_rng(0).normal(size=(30, 3)).astype(np.float16),
    "int64": np.arange(60).reshape(30, 2),
    "uint8": np.arange(60, dtype=np.uint8).reshape(30, 2),
    "bool": np.arange(60).reshape(30, 2) % 3 == 0,
    "text": np.array([["a", "bb"], ["c", "d"], ["a", "d"]]),
    "object": np.array([["a", 1.5], ["c", None], ["a", 2.5]], dtype=object),
    "datetime64": np.array([["2020-01-01", "2020-01-07"], ["2020-01-04", "NaT"]], dtype="datetime64[h]"),
    "fortran": np.asfortranarray(np.random.default_rng(0).normal(size=(30, 3))),
    "NaN": np.array([[1.5, np.nan], [2.5, 3.5]]),
    "big-endian": np.array([[1.5], [2.5]], dtype=">f8"),
}


@pytest.mark.parametrize("case", NUMPY)
def test_numpy_comes_back(case):
    array = NUMPY[case]
    schema = Schema.infer(array)
    encoded = schema.encode(array)
    assert (encoded.state >= 0).all()
    back = schema.decode(encoded)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_lists_of_rows_are_arrays():
    schema = Schema.infer([[1.5, 2], [2.5, 7]])
    assert schema.decode(schema.encode([[1.5, 2], [2.5, 7]])).tolist() == [[1.5, 2.0], [2.5, 7.0]]


def test_libraries_can_differ_between_fit_and_use():
    frame = pd.DataFrame({"a": [0.5, 1 / 3, 2.0], "s": ["x", "y", "x"], "t": TIMES[:3]})
    schema = Schema.infer(frame)
    want = schema.encode(frame)
    for other in (
        pl.from_pandas(frame),
        pl.from_pandas(frame).to_arrow(),
        frame.astype({"t": "datetime64[ns]"}),
    ):
        found = schema.encode(other)
        assert np.array_equal(found.state, want.state)
        assert np.array_equal(found.value, want.value, equal_nan=True)
    by_place = Schema.infer(frame[["a"]]).encode(np.array([[0.5]]))
    assert by_place.value.tolist() == [[0.5]]


def test_impossible_cells_have_state_minus_one_and_are_counted_in_one_warning():
    many = 60
    frame = pl.DataFrame({
        "s": ["a", "b"] * 30,
        "n": [1, 2] * 30,
        "r": [0.1, 0.2] * 30,
        "x": np.random.default_rng(0).exponential(size=many),
        "d": DATES * 10,
        "c": [1.0] * many,
    })  # fmt: skip
    schema = Schema.infer(frame)
    assert schema["x"].kind == "positive"
    odd = pl.DataFrame({
        "s": ["a", "z", None],
        "n": [1.5, None, 3.0],
        "r": [0.149999, 0.3, 0.1],
        "x": [-1.0, float("inf"), 0.0],
        "d": [dt.datetime(2020, 1, 1, 1), None, dt.datetime(2021, 1, 1)],
        "c": [2.0, 1.0, None],
    })  # fmt: skip
    said = r"2 in column 's' \(such as 'z'\); 2 in column 'n'.*between two.*1 in column 'r' \(such as 0.14"
    with pytest.warns(UserWarning, match=said) as caught:
        state = schema.encode(odd).state
    assert len(caught) == 1
    assert (state == -1).T.tolist() == [
        [False, True, True],
        [True, True, False],
        [False, False, False],
        [True, True, False],  # a number at its bound is possible: the density is that just within
        [True, True, False],
        [True, False, True],
    ]
    with pytest.warns(UserWarning, match="density 0"), pytest.raises(DataError, match="'s' has state -1"):
        schema.decode(schema.encode(odd))


def test_integers_that_became_floats_by_a_hole_are_still_integers():
    schema = Schema.infer(pd.DataFrame({"n": [1, 2, 2, 3], "z": [5, 6, 5, 6]}), kinds={"z": "categorical"})
    with pytest.warns(UserWarning, match="such as a missing value"):
        state = schema.encode(pd.DataFrame({"n": [1, np.nan], "z": [6, np.nan]})).state
    assert state.tolist() == [[1, 1], [-1, -1]]


def test_samples_beyond_a_dtype_are_clipped():
    frame = pl.DataFrame({"n": pl.Series(range(0, 250, 5), dtype=pl.UInt8), "f": np.arange(50) * 0.7123})
    frame = frame.cast({"f": pl.Float32})
    schema = Schema.infer(frame, kinds={"n": "integer"})
    rows = schema.encode(frame).rows([1, 1])
    rows.state[:], rows.value[:] = 0, [[300.0, 1e39], [-20.0, -1e39]]
    back = schema.decode(rows)
    assert back["n"].to_list() == [255, 0]
    assert np.isfinite(back["f"].to_numpy()).all()


CELLS = {
    "f": st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    "n": st.integers(-(2**53), 2**53) | st.none(),
    "s": st.text(max_size=3) | st.none(),
    "b": st.booleans() | st.none(),
    "t": st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)) | st.none(),
    "d": st.dates(dt.date(1, 1, 1)) | st.none(),
}
DTYPES = {
    "f": pl.Float64,
    "n": pl.Int64,
    "s": pl.String,
    "b": pl.Boolean,
    "t": pl.Datetime("us"),
    "d": pl.Date,
}


@given(st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=30))
def test_any_table_comes_back(rows):
    frame = pl.DataFrame(rows, schema=DTYPES)
    kinds = {"s": "categorical", "n": "integer" if frame["n"].n_unique() > 1 else "constant"}
    schema = Schema.infer(
        frame, kinds=kinds if frame["n"].drop_nulls().n_unique() > 1 else {"s": "categorical"}
    )
    encoded = schema.encode(frame)
    assert (encoded.state >= 0).all()
    assert schema.decode(encoded).drop("t").equals(frame.drop("t"))
    pandas = frame.to_pandas()
    schema = Schema.infer(pandas, kinds={"s": "categorical"})
    back = schema.decode(schema.encode(pandas))
    pd.testing.assert_frame_equal(back.drop(columns=["t"]), pandas.drop(columns=["t"]), check_exact=True)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(0, 6))
def test_rounded_numbers_come_back_exactly(numbers, decimals):
    array = np.round(np.array(numbers * 3), decimals).reshape(-1, 1) + 0.0
    schema = Schema.infer(array)
    back = schema.decode(schema.encode(array))
    assert np.array_equal(back, array)
