"""Hostile frames: a right answer, or an error that names the column and says what to do."""

import dataclasses
import datetime as dt
import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import diffeo
from diffeo.errors import ConfigError, DataError, FileError, ShapeError
from diffeo.tables import Schema

REFUSED = {
    "no table": (3, "expected a table"),
    "a Series": (pd.Series([1.0]), "expected a table"),
    "one dimension": (np.zeros(3), r"reshape\(-1, 1\)"),
    "three dimensions": (np.zeros((2, 2, 2)), "shape"),
    "ragged": ([[1.0], [1.0, 2.0]], "lengths"),
    "no rows": (pd.DataFrame({"a": []}), "no rows"),
    "no columns": (pl.DataFrame(), "no columns"),
    "no columns of an array": (np.zeros((3, 0)), "no columns"),
    "names twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns|2 columns named 'a'"),
    "names alike as text": (pd.DataFrame([[1, 2]], columns=[1, "1"]), "2 columns named '1'"),
    "names of two levels": (pd.DataFrame({("a", "b"): [1]}), "tuple"),
    "infinite": (np.array([[1.0], [np.inf]]), "'x0' has 1 infinite values, the first in row 1"),
    "complex": (np.array([[1j]]), "'x0' has dtype complex128"),
    "bytes": (np.array([[b"a"]]), "'x0'.*astype"),
    "lists": (pl.DataFrame({"a": [[1], [2]]}), "'a' has the polars type List"),
    "times of day": (pl.DataFrame({"a": [dt.time(1), dt.time(2)]}), "'a' has the polars type Time"),
    "structs of Arrow": (pa.table({"a": [{"b": 1}]}), "'a' has the Arrow type struct"),
    "objects": (pd.DataFrame({"a": [object(), object()]}), "'a' holds a object in row 0"),
    "dates as objects": (pd.DataFrame({"a": [dt.date(2020, 1, 1)]}), "to_datetime"),
    "bytes as objects": (pd.DataFrame({"a": [b"x"]}), "decode it"),
    "sets": (pd.DataFrame({"a": ["x", {1}]}), "'a' holds a set in row 1"),
    "periods": (pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="M")}), "'a' has dtype period"),
    "intervals": (
        pd.DataFrame({"a": pd.cut([1, 2, 3], 2)}),
        "'a' has categories that are of type Interval",
    ),
    "big integers": (
        pd.DataFrame({"a": 2**60 + np.arange(9).repeat([1] * 8 + [2])}),
        "'a'.*2\\^53.*'identifier'",
    ),
    "months": (np.array([[1], [2]], dtype="timedelta64[M]"), "no fixed length"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused(case):
    data, said = REFUSED[case]
    with pytest.raises(DataError, match=said):
        Schema.infer(data)


@pytest.mark.filterwarnings("ignore:left out as identifiers")
@pytest.mark.parametrize("seed", range(30))
def test_hostile_tables_come_back_or_are_refused(seed):
    rng = np.random.default_rng(seed)
    rows = int(rng.choice([1, 2, 3, 19, 60, 400]))
    floats = rng.choice([0.0, -0.0, 1e308, -1e308, 5e-324, 1e16, 0.1, 1 / 3, np.nan], size=rows)
    pool = {
        "fläche": floats,
        "": rng.normal(size=rows).astype(np.float32),
        "twice": np.ones(rows),
        "spaced ": rng.integers(-(2**53), 2**53, rows),
        "\n": rng.choice(np.array(["", " ", "ä", "\x00", "nan", "None"], dtype=object), rows),
        "mixed": rng.choice(np.array(["a", 1, None, True, 2.5], dtype=object), rows),
        "none": np.full(rows, np.nan),
        "when": rng.integers(-(2**62), 2**61, rows).astype("datetime64[ns]"),
        "flag": rng.random(rows) < 0.5,
        "big": rng.integers(0, 2**63 - 1, rows) if rows < 3 else rng.integers(0, 9, rows),
    }
    names = rng.permutation(list(pool))[: rng.integers(1, len(pool) + 1)]
    frame = pd.DataFrame({name: pool[name] for name in names})
    schema = Schema.infer(frame)
    encoded = schema.encode(frame)
    assert (encoded.state >= 0).all()
    kept = [name for name in names if schema[name].coding is not None]
    back = schema.decode(encoded)
    if "when" in kept:  # continuous times of 64 bits come back to 53
        assert np.allclose(
            back.pop("when").astype("int64"), frame["when"].astype("int64"), rtol=0, atol=1024
        )
        kept.remove("when")
    pd.testing.assert_frame_equal(back, frame[kept], rtol=0, atol=0)
    for variable, state, value in zip(schema.variables, encoded.state.T, encoded.value.T, strict=True):
        assert (state < variable.states).all()
        carries = (state <= variable.levels) if variable.numeric else np.zeros(rows, dtype=bool)
        assert np.array_equal(np.isfinite(value), carries)
    assert json.loads(json.dumps(schema.to_json(), allow_nan=False)) == schema.to_json()


def test_one_row_is_all_constant():
    schema = Schema.infer(pd.DataFrame({"a": [1.5], "b": ["x"], "c": [None]}))
    assert set(schema.kinds.values()) == {"constant"}
    assert [v.states for v in schema.variables] == [1, 1, 1]


def test_another_sort_of_thing_is_refused_when_used():
    schema = Schema.infer(
        pd.DataFrame({"n": [0.5, 1.5, 2.7], "s": ["a", "b", "a"], "t": pd.to_datetime([1, 2, 5])})
    )
    good = {"n": [0.5], "s": ["a"], "t": pd.to_datetime([1])}
    for name, values in (("n", ["x"]), ("t", [3.0])):
        with pytest.raises(DataError, match=f"column '{name}' now holds"):
            schema.encode(pd.DataFrame({**good, name: values}))
    with pytest.raises(DataError, match="'s' is not in the data"):
        schema.encode(pd.DataFrame(good).drop(columns="s"))
    with pytest.raises(DataError, match="expected 3"):
        schema.encode(np.zeros((2, 2)))
    encoded = schema.encode(pd.DataFrame(good))
    with pytest.raises(ShapeError, match="expected 3"):
        schema.decode(encoded.columns([0]))


def test_a_schema_is_shown():
    frame = pd.DataFrame({"<b>": ["<script>", "b", "b"], "y": [1.5, np.nan, 2.5]})
    schema = Schema.infer(frame)
    lines = str(schema).splitlines()
    assert lines[0].split() == ["column", "kind", "why", "details"]
    assert lines[1].startswith("<b>     categorical")
    assert "missing values" in lines[2]
    page = schema._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_schema_is_saved_and_loaded(tmp_path):
    frame = pd.DataFrame(
        {"a": [0.5, 1.5, 1 / 3], "größe": ["x", None, "y"], "t": pd.to_datetime([1, 2, 5])}
    )
    schema = diffeo.Schema.infer(frame, first=["größe"])
    schema.save(tmp_path / "schema.json")
    again = Schema.load(tmp_path / "schema.json")
    assert again == schema
    assert again.frame is None
    pd.testing.assert_frame_equal(again.decode(again.encode(frame)), frame)
    with pytest.raises(ConfigError, match="data is not given"):
        again.with_kind("a", "positive")
    assert again.with_kind("a", "positive", data=frame).kinds["a"] == "positive"
    kept = pickle.loads(pickle.dumps(schema))
    assert kept == schema
    assert kept.frame is None
    assert schema.detached().frame is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"columns": 3},
        {"columns": [{}]},
        {"order": ["a"]},
        {"library": "os"},
        {"order": None},
    ],
)
def test_a_file_that_is_no_schema_is_refused(change, tmp_path):
    told = Schema.infer(pd.DataFrame({"a": [0.5, 1.5], "b": [1, 2]})).to_json()
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({**told, **change}))
    with pytest.raises(FileError):
        Schema.load(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="cannot be read"):
        Schema.load(tmp_path / "none.json")
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(FileError, match="cannot be read"):
        Schema.load(tmp_path / "no.json")


def test_a_schema_cannot_be_changed():
    schema = Schema.infer(np.random.default_rng(0).normal(size=(5, 2)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        schema.order = ()
    with pytest.raises(DataError, match="'x9'"):
        schema.with_kind("x9", "positive")
