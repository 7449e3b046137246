"""Tables in every container: read, written back, filled and fixed as they were given."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.tables import Schema

ROWS = 60


def _draws():
    return np.random.default_rng(0)


def _fitted(frame, **arguments):
    return FlowDensity("gaussian", max_steps=2, random_state=0, **arguments).fit(frame)


@pytest.mark.parametrize("fill", [0.0, np.nan])
@pytest.mark.parametrize("of", ["float64", "float32", "int64"])
def test_sparse_columns_come_back_sparse(of, fill):
    if of == "int64" and np.isnan(fill):
        return
    values = np.where(_draws().random(ROWS) < 0.3, _draws().integers(1, 9, ROWS), 0).astype(of)
    column = pd.Series(values, dtype=object).astype(of).astype(pd.SparseDtype(np.dtype(of), fill))
    frame = pd.DataFrame({"s": column, "x": _draws().normal(size=ROWS)})
    schema = Schema.from_json(Schema.infer(frame).to_json())
    again = schema.decode(schema.encode(frame))
    assert again["s"].dtype == frame["s"].dtype
    pd.testing.assert_frame_equal(again, frame)
    assert _fitted(frame).sample(3, random_state=0)["s"].dtype == frame["s"].dtype


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", "b", None] * 20, type=pa.string_view()),
        pl.Series([2**127, 5, None] * 20, dtype=pl.UInt128),
        pl.Series([-(2**70), 5, None] * 20, dtype=pl.Int128),
    ],
)
def test_types_that_libraries_can_do_little_with_are_written(column):
    table = pa.table({"c": column}) if isinstance(column, pa.Array) else pl.DataFrame({"c": column})
    schema = Schema.infer(table, kinds={"c": "categorical"})
    again = schema.decode(schema.encode(table))
    assert again.equals(table)


def test_holes_of_a_table_of_another_library_are_filled():
    frame = pd.DataFrame({"c": _draws().choice(["a", "b"], ROWS), "x": _draws().normal(size=ROWS)})
    frame.index = np.arange(ROWS) * 7
    model = _fitted(frame)
    holes = frame.copy()
    holes.loc[0, "x"] = np.nan
    filled = model.impute(holes, random_state=0).tables[0]
    assert filled.index.tolist() == frame.index.tolist()
    for other in (pl.from_pandas(holes), pl.from_pandas(holes).to_arrow()):
        assert model.impute(other, random_state=0).tables[0]["x"].tolist() == filled["x"].tolist()


def test_a_list_of_rows_keeps_numbers_beside_texts():
    rows = [[int(k), "ab"[k % 2]] for k in _draws().poisson(2, ROWS)]
    model = _fitted(rows)
    assert model.schema_.kinds == {"x0": "count", "x1": "categorical"}
    assert model.score_samples([[2, "a"]]) == pytest.approx(
        model.score_samples(np.array([[2, "a"]], dtype=object))
    )
    assert {type(cell) for cell in model.sample(3, random_state=0)[:, 0]} == {int}


@pytest.mark.parametrize("kind", ["constant", "categorical", "ordinal"])
@pytest.mark.parametrize("fitted", ["float32", "float64"])
def test_levels_that_are_numbers_are_met_in_the_coarser_precision(fitted, kind):
    values = np.array([0.1] * 20 if kind == "constant" else [0.1, 0.2, 0.3] * 20)
    frame = pd.DataFrame({"v": values.astype(fitted)})
    schema = Schema.infer(frame, kinds={"v": kind})
    for given in ("float32", "float64"):
        state = schema.encode(pd.DataFrame({"v": values.astype(given)})).state
        assert state.tolist() == schema.encode(frame).state.tolist()
        assert (state >= 0).all()


@pytest.mark.parametrize(("precision", "high"), [("float16", 1e5), ("float32", 1e39)])
def test_what_a_precision_cannot_hold_is_no_bound(precision, high):
    values = _draws().random(ROWS).astype(precision)
    schema = Schema.infer(
        pd.DataFrame({"a": values}), kinds={"a": {"kind": "bounded", "low": 0, "high": high}}
    )
    with pytest.warns(UserWarning, match="density 0"):
        state = schema.encode(pd.DataFrame({"a": [0.5, high, 10 * high, np.inf]})).state[:, 0]
    assert state.tolist() == [0, 0, -1, -1]


def test_a_lattice_of_times_is_a_whole_number_of_their_ticks():
    days = pl.DataFrame({"d": [dt.date(2024, 1, 1) + dt.timedelta(days=k % 9) for k in range(ROWS)]})
    seconds = pl.DataFrame({"d": [dt.datetime(2024, 1, 1, second=3 * (k % 9)) for k in range(ROWS)]})
    coarse = seconds.to_pandas().astype("datetime64[s]")
    with pytest.raises(DataError, match=r"'d' .*: lattice=3600 s is no whole number .*\(D\)"):
        Schema.infer(days, kinds={"d": {"kind": "datetime", "lattice": 3600}})
    with pytest.raises(DataError, match=r"lattice=1\.5 s is no whole number .*\(s\)"):
        Schema.infer(coarse, kinds={"d": {"kind": "datetime", "lattice": 1.5}})
    half = Schema.infer(seconds, kinds={"d": {"kind": "datetime", "lattice": 0.5}})
    assert half.variables[0].lattice == 0.5
    assert (
        Schema.infer(seconds, kinds={"d": {"kind": "datetime", "lattice": 1.5}}).variables[0].lattice == 1.5
    )
    assert Schema.infer(days, kinds={"d": {"kind": "datetime", "lattice": 0}}).variables[0].lattice == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_value_is_fixed_in_any_of_its_forms(library):
    draws = _draws()
    span = [dt.timedelta(hours=int(k)) for k in draws.integers(0, 5, ROWS)]
    day = [dt.datetime(2024, 3, 2) + s for s in span]
    frame = pl.DataFrame(
        {
            "d": [None, *day[1:]],
            "s": span,
            "v": pl.Series(draws.choice([0.1, 0.2, 0.3], ROWS), dtype=pl.Float32),
            "x": draws.normal(size=ROWS),
        }
    )
    model = _fitted(frame if library == "polars" else frame.to_pandas(), first=["d", "s", "v"])
    for nothing in (None, pd.NaT, np.datetime64("NaT"), float("nan")):
        assert pd.isna(model.conditional(d=nothing).sample(1, random_state=0)["d"][0])
    for moment in ("2024-03-02", "2024-03-02T00:00", np.datetime64("2024-03-02"), dt.date(2024, 3, 2)):
        drawn = model.conditional(d=moment).sample(1, random_state=0)["d"][0]
        assert drawn == dt.datetime(2024, 3, 2)
    for wrong in (1709337600, 5.0, True, "soon", "2024-03-02T00:00+01:00"):
        with pytest.raises(ConfigError, match="d="):
            model.conditional(d=wrong)
    for hours in (dt.timedelta(hours=2), np.timedelta64(2, "h")):
        drawn = model.conditional(d=day[1], s=hours).sample(1, random_state=0)["s"][0]
        assert drawn == dt.timedelta(hours=2)
    for tenth in (0.1, np.float64(0.1), np.float32(0.1), float(np.float32(0.1))):
        drawn = model.conditional(d=day[1], s=span[1], v=tenth).sample(1, random_state=0)["v"][0]
        assert np.float32(drawn) == np.float32(0.1)
