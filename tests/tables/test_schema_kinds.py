"""Each kind is found from the data, said why, and overridden by one argument."""

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.tables import Schema
from diffeo.tables.columns.coding import IMPOSSIBLE


def rng():
    return np.random.default_rng(0)


N = 1000
UNIT = rng().random(N)
NORMAL = rng().normal(size=N)
COLUMNS = {
    "continuous": NORMAL,
    "continuous, infinitesimal": NORMAL * 1e-300,
    "continuous, huge": np.where(NORMAL > 0, 1e308, -1e308) * UNIT,
    "continuous, float32": NORMAL.astype(np.float32),
    "positive": np.exp(NORMAL),
    "bounded": UNIT,
    "bounded, angle": (UNIT - 0.5) * 2 * math.pi,
    "bounded, zero-inflated": np.where(UNIT < 0.3, 0.0, np.exp(NORMAL)),
    "bounded, censored": np.minimum(NORMAL, 1.0),
    "integer": np.round(NORMAL * 100).astype(int),
    "integer, as floats": np.round(NORMAL * 100),
    "integer, years": 1990 + (UNIT * 30).astype(int),
    "count": rng().poisson(3, N),
    "count, wide": np.floor(np.exp(NORMAL * 2 + 5)).astype(int) + 3,
    "rounded": np.round(NORMAL, 1),
    "rounded, quarters": np.round(NORMAL * 8) / 4,
    "rounded, float32": np.round(NORMAL, 1).astype(np.float32),
    "categorical": np.array(["a", "b", "c"])[(UNIT * 3).astype(int)],
    "categorical, many": np.array([f"k{k}" for k in range(600)])[(UNIT * 600).astype(int)],
    "categorical, mixed": np.array(["a", 1, 2.5], dtype=object)[(UNIT * 3).astype(int)],
    "categorical, beyond 2^53": 2**60 + (UNIT * 5).astype(int),
    "boolean": UNIT < 0.3,
    "datetime": np.datetime64("2020-01-01") + (UNIT * 1e9).astype("timedelta64[ms]"),
    "datetime, days": np.datetime64("2020-01-01") + (UNIT * 300).astype("timedelta64[D]"),
    "duration": (UNIT * 1e9).astype("timedelta64[us]"),
    "constant": np.full(N, 3.25),
    "constant, missing": np.full(N, np.nan),
    "identifier, rows": np.arange(N),
    "identifier, text": np.array([f"{k:05d}" for k in range(N)]),
    "identifier, beyond 2^53": 2**60 + np.arange(N),
}


@pytest.mark.parametrize("case", COLUMNS)
@pytest.mark.filterwarnings("ignore:left out as identifiers")
def test_a_kind_is_found(case):
    frame = pd.DataFrame({"it": COLUMNS[case], "other": NORMAL})
    schema = Schema.infer(frame)
    assert schema.kinds["it"] == case.split(",")[0], schema["it"]
    assert schema["it"].why
    assert schema["it"].about or schema["it"].kind in ("continuous", "datetime", "duration")


def variable(values, **kinds):
    return Schema.infer(pd.DataFrame({"it": values}), **kinds).variables[0]


def test_variables_say_bounds_atoms_and_lattice():
    assert variable(COLUMNS["positive"]).low == 0
    inflated = variable(COLUMNS["bounded, zero-inflated"])
    assert (inflated.low, inflated.high, inflated.atoms) == (0.0, None, (0.0,))
    censored = variable(COLUMNS["bounded, censored"])
    assert (censored.low, censored.high, censored.atoms) == (None, 1.0, (1.0,))
    assert (variable(UNIT).low, variable(UNIT).high, variable(UNIT).plain) == (0.0, 1.0, True)
    count = variable(COLUMNS["count"])
    assert (count.low, count.lattice) == (0.0, 1.0)
    assert count.atoms == tuple(map(float, np.unique(COLUMNS["count"])))
    quarters = variable(COLUMNS["rounded, quarters"])
    assert quarters.lattice == 0.25
    days = variable(COLUMNS["datetime, days"])
    assert days.lattice == 86400.0
    assert variable(COLUMNS["datetime"]).lattice == 0
    assert variable(NORMAL).plain
    holes = np.where(UNIT < 0.1, np.nan, NORMAL)
    assert variable(holes).missing
    assert variable(holes).states == 2


def test_an_interior_atom_is_no_bound():
    found = variable(np.where(UNIT < 0.2, 0.0, NORMAL))
    assert (found.low, found.high, found.atoms) == (None, None, (0.0,))


def test_bounds_that_are_not_there_are_not_believed():
    assert variable(3.5 + NORMAL).low is None
    assert variable(50 + 15 * NORMAL).high is None
    rounded = np.round(3 + NORMAL)
    rounded = rounded[rounded >= 0].astype(int)
    assert variable(rounded).low is None


def test_few_values_are_all_atoms_and_leave_room_for_others():
    few = np.array([0.1234567891, 2.3456789123, math.pi])[(UNIT * 3).astype(int)]
    found = variable(few)
    assert len(found.atoms) == 3
    assert found.numeric
    assert found.low is None


def test_no_more_than_64_atoms():
    assert len(variable(np.repeat(np.arange(90), 100)).atoms) == 64
    assert len(variable(np.repeat(np.arange(400), 10)).atoms) == 0


OVERRIDES = {
    "categorical": (COLUMNS["count"], {}),
    "ordinal": (COLUMNS["count"], {}),
    "continuous": (COLUMNS["rounded"], {"atoms": ()}),
    "rounded": (COLUMNS["rounded"], {"lattice": 0.05}),
    "integer": (COLUMNS["count"], {}),
    "count": (np.abs(COLUMNS["integer"]), {}),
    "bounded": (NORMAL, {"low": -10, "high": 10}),
    "positive": (UNIT, {}),
    "identifier": (NORMAL, {}),
    "boolean": (COLUMNS["count"] > 2, {}),
    "datetime": (COLUMNS["datetime, days"], {"lattice": 3600}),
}


@pytest.mark.parametrize("kind", OVERRIDES)
def test_a_kind_is_overridden_by_one_argument(kind):
    values, details = OVERRIDES[kind]
    frame = pd.DataFrame({"it": values, "other": NORMAL})
    told = {"kind": kind, **details} if details else kind
    schema = Schema.infer(frame, kinds={"it": told})
    assert (schema.kinds["it"], schema["it"].why) == (kind, "as said")
    assert Schema.infer(frame).with_kind("it", kind, **details) == schema
    if kind != "identifier":
        pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame)
    else:
        pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame[["other"]])


def test_ordinal_levels_have_an_order():
    frame = pl.DataFrame({"size": ["S", "L", "M", "S"]})
    schema = Schema.infer(frame).with_kind("size", "ordinal", levels=["S", "M", "L"])
    assert schema.variables[0].ordered
    assert schema.encode(frame).state[:, 0].tolist() == [0, 2, 1, 0]
    assert Schema.infer(
        frame.to_pandas().astype(pd.CategoricalDtype(["S", "M", "L"], ordered=True))
    ).kinds == {"size": "ordinal"}


@pytest.mark.parametrize(
    ("values", "told", "said"),
    [
        (["a", "b"], "continuous", "no numbers"),
        ([0.5, 1.0], "integer", "whole numbers"),
        ([-1.0, 2.0], "positive", "at least 0"),
        ([0.5, 7.0], {"kind": "bounded", "high": 5}, "at most 5"),
        ([0.5, 7.0], "bounded", "no bound"),
        ([1.0, 2.5], {"kind": "rounded", "lattice": 1.0}, "multiples"),
        ([1 / 3, 2.5], "rounded", "9 decimals"),
        ([1.0, 2.0], "datetime", "convert"),
        (["a", "b"], {"kind": "ordinal", "levels": ["a"]}, "lacks 'b'"),
        (["a", "b"], {"kind": "ordinal", "levels": ["a", "a", "b"]}, "repeats"),
        (["a", "b", "c"], "boolean", "two"),
        ([1.0, 2.0], "constant", "different values"),
        ([2**60, 2**61], "integer", "2\\^53"),
        (["a", "b"], "text", "'categorical'"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused_by_name(values, told, said):
    with pytest.raises(DataError, match=f"'it'.*{said}"):
        Schema.infer(pd.DataFrame({"it": values}), kinds={"it": told})


def test_what_is_said_wrongly_is_refused():
    frame = pd.DataFrame({"it": NORMAL})
    with pytest.raises(ConfigError, match=r"kind='continous'.*Did you mean 'continuous'"):
        Schema.infer(frame, kinds={"it": "continous"})
    with pytest.raises(ConfigError, match="levels"):
        Schema.infer(frame, kinds={"it": {"kind": "continuous", "levels": [1]}})
    with pytest.raises(ConfigError, match="kinds"):
        Schema.infer(frame, kinds={"it": 3})
    with pytest.raises(DataError, match=r"kinds names 'its'.*Did you mean 'it'"):
        Schema.infer(frame, kinds={"its": "positive"})
    with pytest.raises(DataError, match="first"):
        Schema.infer(frame, first=["no"])
    with pytest.raises(ConfigError, match="first"):
        Schema.infer(frame, first="it")


def test_named_columns_come_first():
    frame = pd.DataFrame({"a": NORMAL, "b": UNIT, "c": COLUMNS["count"]})
    schema = Schema.infer(frame, first=["c"])
    assert [v.name for v in schema.variables] == ["c", "a", "b"]
    assert np.array_equal(schema.encode(frame).value[:, 1], NORMAL)
    pd.testing.assert_frame_equal(schema.decode(schema.encode(frame)), frame)


def test_identifiers_are_warned_of_and_left_out():
    frame = pd.DataFrame({"id": np.arange(N), "a": NORMAL})
    with pytest.warns(UserWarning, match="'id' .*kinds={'id': 'categorical'}"):
        schema = Schema.infer(frame)
    assert [v.name for v in schema.variables] == ["a"]
    assert schema.encode(frame[["a"]]).state.shape == (N, 1)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(DataError, match="no column is left"):
        Schema.infer(frame[["id"]])


def test_an_array_has_no_identifiers():
    assert Schema.infer(np.arange(N).reshape(-1, 1)).kinds["x0"] in ("integer", "count")


def test_text_is_refused_with_the_way_out():
    frame = pd.DataFrame({"note": [f"this is note number {k}" for k in range(N)]})
    with pytest.raises(DataError, match=r"'note' is text.*kinds={'note': 'categorical'}"):
        Schema.infer(frame)
    assert Schema.infer(frame, kinds={"note": "categorical"}).variables[0].levels == N


def test_ten_thousand_categories():
    labels = np.array([f"c{k}" for k in rng().integers(0, 10_000, 20_000)])
    frame = pl.DataFrame({"c": labels})
    schema = Schema.infer(frame)
    assert schema.kinds == {"c": "categorical"}
    assert schema.decode(schema.encode(frame)).equals(frame)


@pytest.mark.filterwarnings("ignore:left out as identifiers")
def test_dates_that_are_text_are_told_to_be_turned_into_dates():
    days = np.datetime64("2020-01-01") + (UNIT * 300).astype("timedelta64[D]")
    distinct = np.datetime64("2020-01-01") + np.arange(N).astype("timedelta64[D]")
    for column in (days, distinct):
        schema = Schema.infer(pd.DataFrame({"it": column.astype(str), "other": NORMAL}))
        assert "ISO dates as text: convert them" in str(schema)
    assert "ISO dates" not in str(Schema.infer(pd.DataFrame({"it": COLUMNS["categorical"], "o": NORMAL})))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_atoms_of_rounded_numbers_are_met_in_any_precision(dtype):
    tenths = rng().integers(0, 8, 300)
    schema = Schema.infer(pd.DataFrame({"a": (tenths / 10).astype(dtype)}))
    assert schema.variables[0].atoms == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    for other in (np.float32, np.float64):
        state = schema.encode(pd.DataFrame({"a": (tenths / 10).astype(other)})).state[:, 0]
        assert np.bincount(state, minlength=9).tolist() == [0, *np.bincount(tenths, minlength=8)]


def test_a_decimal_between_two_levels_is_none_of_them():
    levels = pd.DataFrame({"p": [Decimal("1.2"), Decimal("3.5")] * 20})
    schema = Schema.infer(levels, kinds={"p": "categorical"})
    given = pd.DataFrame({"p": [Decimal("1.2"), Decimal("1.24"), Decimal("3.50")]})
    with pytest.warns(UserWarning, match=r"such as 1\.24"):
        first, between, last = schema.encode(given).state[:, 0]
    assert [first, last] == schema.encode(levels).state[:2, 0].tolist()
    assert between == IMPOSSIBLE


def test_one_row_at_a_bound_is_no_atom():
    scaled = (UNIT - UNIT.min()) / (UNIT.max() - UNIT.min())
    (variable,) = Schema.infer(pd.DataFrame({"u": scaled})).variables
    assert (variable.low, variable.high, variable.atoms) == (0.0, 1.0, ())
    twice = np.concatenate([scaled, [0.0]])
    assert Schema.infer(pd.DataFrame({"u": twice})).variables[0].atoms == (0.0,)
    told = {"u": {"kind": "bounded", "low": 0, "high": 1, "atoms": []}}
    assert Schema.infer(pd.DataFrame({"u": twice}), kinds=told).variables[0].atoms == ()


def test_atoms_between_numbers_of_a_lattice_are_refused():
    counts = pd.DataFrame({"n": rng().integers(0, 40, 200) * 2})
    told = {"n": {"kind": "integer", "atoms": [4]}}
    assert Schema.infer(counts, kinds=told).variables[0].atoms == (4.0,)
    for atom in (0.5, 3, np.inf):
        with pytest.raises(DataError, match=f"'n' cannot be integer: its atoms have {atom}"):
            Schema.infer(counts, kinds={"n": {"kind": "integer", "atoms": [4, atom]}})


TENTH = np.float32(0.1)


@pytest.mark.parametrize(
    "kind",
    [
        {"kind": "bounded", "low": 0, "high": 0.1},
        {"kind": "bounded", "low": 0.1, "high": 1},
        {"kind": "continuous", "atoms": [0.1]},
        "continuous",
        {"kind": "rounded", "low": 0.1, "high": 0.9},
    ],
)
@pytest.mark.parametrize("fitted", ["float32", "float64"])
def test_a_number_is_met_in_the_precision_of_the_column(kind, fitted):
    """0.1 of float32 is another float64 than 0.1, and larger."""
    draws = np.random.default_rng(0)
    values = draws.uniform(0.001, 0.099, 200)
    if isinstance(kind, dict) and kind.get("low") == 0.1:
        values = draws.integers(2, 9, 200) / 10 if kind["kind"] == "rounded" else 0.1 + 8 * values
    values[:60] = 0.1
    schema = Schema.infer(pd.DataFrame({"a": values.astype(fitted)}), kinds={"a": kind})
    atom = schema.encode(pd.DataFrame({"a": values[:1].astype(fitted)})).state[0, 0]
    assert atom > 0
    for given in ("float32", "float64"):
        frame = pd.DataFrame({"a": values.astype(given)})
        encoded = schema.encode(frame)
        assert (encoded.state[:60] == atom).all()
        if not (isinstance(kind, dict) and kind["kind"] == "rounded"):
            assert (encoded.state[60:] == 0).all()
        drawn = schema.decode(encoded)
        assert str(drawn["a"].dtype) == fitted
        assert (drawn["a"].to_numpy()[:60] == np.float64(0.1).astype(fitted)).all()


def test_a_number_just_beyond_a_bound_is_impossible_in_its_own_precision():
    values = np.random.default_rng(0).uniform(0, 0.1, 200).astype(np.float32)
    schema = Schema.infer(
        pd.DataFrame({"a": values}), kinds={"a": {"kind": "bounded", "low": 0, "high": 0.1}}
    )
    beyond = np.nextafter(TENTH, np.float32(1))
    with pytest.warns(UserWarning, match="density 0"):
        state = schema.encode(pd.DataFrame({"a": np.array([beyond, TENTH])})).state[:, 0]
    assert state.tolist() == [-1, 0]
    with pytest.raises(DataError, match=r"holds 0\.1; expected numbers of at most 0\.1"):
        Schema.infer(
            pd.DataFrame({"a": np.r_[values, beyond]}),
            kinds={"a": {"kind": "bounded", "low": 0, "high": 0.1}},
        )


def test_rows_drawn_with_replacement_make_no_atom_of_a_bound():
    draws = np.random.default_rng(0)
    column = draws.random(600)
    scaled = (column - column.min()) / np.ptp(column)
    repeated = np.r_[scaled, 0.0, 0.0, 1.0, scaled[100], scaled[100]]
    assert Schema.infer(scaled[:, None]).variables[0].atoms == ()
    assert Schema.infer(repeated[:, None]).variables[0].low == 0.0
    assert Schema.infer(repeated[:, None]).variables[0].atoms == ()
    # More often than any number between: a probability of its own.
    assert Schema.infer(np.r_[repeated, 0.0][:, None]).variables[0].atoms == (0.0,)


def test_limits_of_a_small_type_are_bounds_where_numbers_come_near():
    draws = np.random.default_rng(0)
    numbers = np.clip(np.rint(draws.normal(30, 15, 400)), 1, 200)
    for dtype, low, high in (("uint8", 0, None), ("int8", None, 127), ("int32", None, None)):
        for frame in (
            pd.DataFrame({"k": np.minimum(numbers, 100).astype(dtype)}),
            pl.DataFrame({"k": np.minimum(numbers, 100).astype(dtype)}),
        ):
            variable = Schema.infer(frame, kinds={"k": "integer"}).variables[0]
            assert (variable.low, variable.high) == (low, high), dtype
    model = FlowDensity("gaussian", max_steps=2, kinds={"k": "integer"}, random_state=0)
    every = pd.DataFrame({"k": np.arange(256, dtype=np.uint8)})
    model.fit(pd.DataFrame({"k": numbers.astype(np.uint8)}))
    mass = np.exp(model.score_samples(every))
    drawn = np.bincount(model.sample(20_000, random_state=0)["k"], minlength=256) / 20_000
    assert mass.sum() == pytest.approx(1, abs=1e-3)
    assert drawn[:3] == pytest.approx(mass[:3], abs=4 * (mass[:3].max() / 20_000) ** 0.5)


def test_an_atom_beyond_the_bounds_has_its_own_probability():
    counts = np.random.default_rng(0).poisson(3, 200)
    told = {"k": {"kind": "count", "atoms": [-1, 0, 1]}}
    model = FlowDensity("gaussian", max_steps=2, kinds=told, random_state=0).fit(
        pd.DataFrame({"k": counts})
    )
    mass = np.exp(model.score_samples(pd.DataFrame({"k": np.arange(-1, 60)})))
    assert mass[0] > 0
    assert mass.sum() == pytest.approx(1, abs=1e-3)


def test_numbers_of_two_types_beside_text_are_each_a_level():
    frame = pd.DataFrame({"q": [1, 1.0, "1"] * 30}, dtype=object)
    schema = Schema.infer(frame, kinds={"q": "categorical"})
    assert schema.encode(frame).state[:3, 0].tolist() == [0, 1, 2]
    assert [type(q) for q in schema.decode(schema.encode(frame))["q"][:3]] == [int, float, str]


@pytest.mark.parametrize(
    "column", [[Decimal("2.5"), Decimal("1.5")] * 9, list(pd.date_range("2024-01-01", periods=2)) * 9]
)
def test_levels_of_decimals_and_times_are_in_their_own_order(column):
    frame = pd.DataFrame({"q": column})
    with pytest.raises(DataError, match=r"'q' cannot be ordinal: levels=.*leave levels out"):
        Schema.infer(frame, kinds={"q": {"kind": "ordinal", "levels": column[:2]}})
    schema = Schema.infer(frame, kinds={"q": "ordinal"})
    assert schema.encode(frame).state[:2, 0].tolist() == ([1, 0] if column[0] > column[1] else [0, 1])
