"""Rows written twice, holes that may come, weights of zero, and numbers in a column's own precision."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.estimator.folds import weighted_rows
from diffeo.estimator.seen import Seen, copies_of
from diffeo.tables import Schema
from diffeo.tables.variable import Encoded


def normals(rows, columns=2, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def test_a_row_written_twice_is_on_one_side_of_each_split():
    x = normals(40)
    twice = Encoded(np.zeros((80, 2), np.int64), np.r_[x, x])
    seen = Seen.of(twice, None, 0, copies=copies_of(twice, [0, 1]))
    for train, held in seen.folds:
        assert not set(train % 40) & set(held % 40)
    assert sorted(np.concatenate([held for _, held in seen.folds])) == list(range(80))


def test_rows_that_differ_and_rows_of_states_are_nobodys_copies():
    x = normals(40)
    assert copies_of(Encoded(np.zeros((40, 2), np.int64), x), [0, 1]) is None
    states = Encoded(np.zeros((40, 1), np.int64), np.full((40, 1), np.nan))
    assert copies_of(states, []) is None
    often = Encoded(np.zeros((480, 2), np.int64), np.tile(x, (12, 1)))
    assert copies_of(often, [0, 1]) is None
    signs = Encoded(np.zeros((3, 1), np.int64), np.array([[0.0], [-0.0], [1.0]]))
    assert copies_of(signs, [0]).tolist() == [0, 0, 2]


def test_copies_are_together_where_their_columns_have_holes_and_atoms():
    frame = pd.DataFrame(normals(60), columns=["a", "b"])
    frame.loc[0, "a"], frame.loc[1:12, "b"], frame.loc[13, "b"] = np.nan, 0.0, np.nan
    four = pd.concat([frame] * 4, ignore_index=True)
    model = FlowDensity("gaussian", max_steps=1, random_state=0).fit(four)
    assert not any(variable.plain for variable in model.density_.joint.variables)
    for train, held in model.seen_.folds:
        assert not set(train % 60) & set(held % 60)


def test_rows_without_a_number_are_nobodys_copies():
    value = np.array([[1.5, 0.0], [np.nan, 0.0], [1.5, 0.0], [np.nan, 0.0]])
    rows = Encoded(np.array([[0, 1], [1, 1], [0, 1], [1, 1]]), value)  # a hole and an atom, twice
    assert copies_of(rows, [0, 1]) is None
    more = Encoded.stack([rows, Encoded(np.zeros((1, 2), np.int64), np.ones((1, 2)))])
    assert copies_of(more, [0, 1]).tolist() == [0, 1, 0, 3, 4]


def sides_of(model):
    """Return for each row seen the fold that holds it out, or −1."""
    sides = np.full(len(model.seen_.rows), -1)
    for fold, (train, held) in enumerate(model.seen_.folds):
        assert not set(train) & set(held)
        assert len(train) + len(held) == len(sides)
        sides[held] = fold
    return sides


@pytest.mark.parametrize(("rows", "again"), [(60, 60), (60, 2_100), (2_100, 60)])
def test_rows_seen_again_are_held_out_where_they_were(rows, again):
    x = normals(max(rows, again))
    model = FlowDensity("gaussian", max_steps=1).partial_fit(x[:rows]).partial_fit(x[:again][::-1])
    sides = sides_of(model)
    begin, both = rows, min(rows, again)
    assert sides[begin:][::-1][:both].tolist() == sides[:both].tolist()


def test_rows_seen_again_and_again_stay_on_their_side():
    x = normals(40)
    model = FlowDensity("gaussian", max_steps=1)
    for _ in range(12):
        model.partial_fit(x)
    sides = sides_of(model)
    assert (sides.reshape(12, 40) == sides[:40]).all()


def test_numbers_of_few_kinds_are_split_by_rows_also_in_later_batches():
    few = np.repeat(normals(3, 1), 100, axis=0)
    old = Seen.of(Encoded(np.zeros((3, 1), np.int64), few[::100]), None, 0)
    new = Seen.of(Encoded(np.zeros((300, 1), np.int64), few), None, 0)
    held = old.and_more(new, [0]).folds[0][1]
    assert len(np.unique(few[held[held >= 3] - 3])) == 3


@pytest.mark.parametrize("table", [normals(60), np.random.default_rng(0).integers(0, 3, (60, 2))])
def test_a_warm_start_holds_out_the_rows_that_were_held_out(table):
    model = FlowDensity("gaussian", max_steps=1, warm_start=True).fit(table)
    sides = sides_of(model)
    assert sides_of(model.fit(table)).tolist() == sides.tolist()
    if table.dtype.kind == "f":
        other = np.r_[table[::-1], normals(20, seed=1)]
        assert sides_of(model.fit(other))[:60][::-1].tolist() == sides.tolist()


def test_a_warm_start_on_rows_that_were_all_trained_on_splits_them():
    x = normals(2_100)
    model = FlowDensity("gaussian", max_steps=1, warm_start=True).fit(x)
    model.fit(x[sides_of(model) == -1][:50])
    assert (sides_of(model) >= 0).any()


def test_a_table_of_frequencies_is_learnt_by_its_counts():
    counts = [700, 200, 90, 10]
    model = FlowDensity(max_steps=20, random_state=0).fit(
        pd.DataFrame({"g": list("abcd")}), sample_weight=counts
    )
    assert np.bincount(model.seen_.rows.state[:, 0]).tolist() == counts
    found = np.exp(model.score_samples(pd.DataFrame({"g": list("abcd")})))
    assert found == pytest.approx(np.divide(counts, 1_000), abs=0.02)


def test_copies_by_whole_weights_are_together_however_heavy():
    model = FlowDensity("gaussian", max_steps=1).fit(normals(30), sample_weight=np.arange(1, 31) * 20)
    sides = sides_of(model)
    assert len(sides) == 465 * 20
    for value in np.unique(model.seen_.rows.value[:, 0]):
        assert len(np.unique(sides[model.seen_.rows.value[:, 0] == value])) == 1
    sides = sides_of(model.partial_fit(normals(20), sample_weight=np.full(20, 30)))
    for value in np.unique(model.seen_.rows.value[:, 0]):
        assert len(np.unique(sides[model.seen_.rows.value[:, 0] == value])) == 1


def test_weights_draw_rows_in_proportion():
    whole = np.array([1, 399, 7, 0])
    assert np.bincount(weighted_rows(whole * 1.0, 0), minlength=4).tolist() == whole.tolist()
    drawn = np.bincount(weighted_rows(np.array([7e6, 2e6, 0.9e6, 0.1e6]), 0))
    assert drawn == pytest.approx([700_000, 200_000, 90_000, 10_000], abs=1)
    assert len(weighted_rows(np.array([7e6, 3e6]), 0, columns=2_000)) == 10_000
    assert np.bincount(weighted_rows(np.full(30, 0.5), 0)).tolist() == [1] * 30
    many = np.random.default_rng(0).gamma(2.0, size=300)
    drawn = np.bincount(weighted_rows(many, 0), minlength=300)
    assert np.abs(drawn - drawn.sum() * many / many.sum()).max() < 1
    assert (drawn > 0).mean() > 0.98
    for least in (5e-324, 1.0):
        assert weighted_rows(np.array([1e308, 1e308, least]), 0).max() == 1


def test_copies_of_rows_do_not_flatter_a_kernel_density():
    x = normals(200)
    model = FlowDensity("kernel", time_budget=1, random_state=0).fit(np.r_[x, x])
    assert abs(model.held_out_nats_ - model.score(normals(4_000, seed=1))) < 0.25


def test_a_hole_may_be_announced():
    frame = pd.DataFrame({"a": normals(300, 1)[:, 0], "b": normals(300, 1, seed=1)[:, 0]})
    kinds = {"a": {"kind": "continuous", "missing": True}}
    model = FlowDensity("gaussian", max_steps=20, random_state=0, kinds=kinds).fit(frame)
    hole = pd.DataFrame({"a": [np.nan], "b": [0.1]})
    assert np.isfinite(model.score_samples(hole)).all()
    model.partial_fit(pd.concat([hole, frame[:20]], ignore_index=True))
    with pytest.raises(DataError, match="missing=False"):
        FlowDensity(kinds={"a": {"kind": "continuous", "missing": False}}).fit(pd.concat([hole, frame]))
    with pytest.raises(ConfigError, match="missing"):
        FlowDensity(kinds={"a": {"kind": "continuous", "missing": "yes"}}).fit(frame)


def test_rows_of_no_weight_say_nothing_of_a_column():
    frame = pd.DataFrame({"a": np.r_[np.ones(50), normals(50, 1)[:, 0]], "b": normals(100, 1)[:, 0]})
    weights = np.r_[np.ones(50), np.zeros(50)]
    weighted = FlowDensity("gaussian", max_steps=1, random_state=0).fit(frame, sample_weight=weights)
    left_out = FlowDensity("gaussian", max_steps=1, random_state=0).fit(frame[:50])
    assert weighted.schema_["a"].kind == left_out.schema_["a"].kind == "constant"
    assert weighted.score_samples(frame[:50]).tolist() == left_out.score_samples(frame[:50]).tolist()


@pytest.mark.parametrize("library", ["numpy", "pandas", "polars"])
def test_a_column_of_float32_is_fixed_at_a_number_in_its_own_precision(library):
    x = normals(60).astype(np.float32)
    tables = {
        "numpy": x,
        "pandas": pd.DataFrame(x, columns=["x0", "x1"]),
        "polars": pl.DataFrame({"x0": x[:, 0], "x1": x[:, 1]}),
    }
    model = FlowDensity("gaussian", max_steps=1, first=["x0"], random_state=0).fit(tables[library])
    given = model.conditional(x0=0.1)
    drawn = given.sample(np.int64(2), random_state=0)
    first = drawn[:, 0] if library == "numpy" else drawn["x0"].to_numpy()
    assert first.tolist() == [np.float32(0.1)] * 2
    assert np.isfinite(given.score_samples(drawn)).all()


def test_which_columns_can_be_fixed_is_said_of_those_alone():
    model = FlowDensity("gaussian", max_steps=1, random_state=0).fit(normals(60))
    with pytest.raises(ConfigError, match=r"one after another \(none\).*first=\['x0'\]"):
        model.conditional(x0=0.5)


def test_numbers_of_numpy_describe_a_column_as_pythons_do(tmp_path):
    frame = pd.DataFrame({"g": np.repeat([1, 2, 4], 20), "a": normals(60, 1)[:, 0]})
    kinds = {"g": {"kind": "ordinal", "levels": np.unique(frame.g)}}
    schema = Schema.infer(frame, kinds=kinds)
    schema.save(tmp_path / "schema.json")
    assert Schema.load(tmp_path / "schema.json").order == schema.order
    bounded = Schema.infer(frame, kinds={"g": {"kind": "integer", "low": frame.g.min()}})
    assert bounded["g"].kind == "integer"


def test_draws_of_the_last_columns_are_exact():
    draws = np.random.default_rng(0)
    group = draws.integers(0, 2, size=400)
    frame = pd.DataFrame({"g": group, "x": draws.normal(size=400) + 2 * group, "y": draws.normal(size=400)})
    model = FlowDensity(max_steps=30, first=["g"], random_state=0).fit(frame)
    holes = pd.DataFrame({"g": [0, 1], "x": [np.nan] * 2, "y": [np.nan] * 2})
    found = model.impute(holes, 50, random_state=0, proposals=50)
    assert np.allclose(found.effective, 50)
    assert len({table["x"][0] for table in found.tables}) == 50


@pytest.mark.parametrize("beside", [[], ["x"], ["d"], ["x", "d", "k"]])
@pytest.mark.parametrize("way", ["partial_fit", "warm_start"])
def test_frequencies_follow_the_new_rows(way, beside):
    draws = np.random.default_rng(0)

    def rows(n, share, centre):
        c = np.where(draws.random(n) < share, "b", "a")
        d = np.where(draws.random(n) < share, c, "z")
        x, k = draws.normal(centre, 1, n), draws.poisson(1 + centre, n)
        return pd.DataFrame({"c": c, "d": d, "x": x, "k": k})[["c", *beside]]

    first, then = rows(300, 0.1, 0), rows(1500, 0.9, 0.2)
    model = FlowDensity("gaussian", max_steps=40, warm_start=way == "warm_start", random_state=0)
    model = getattr(model.fit(first), "fit" if way == "warm_start" else "partial_fit")(then)
    seen = then if way == "warm_start" else pd.concat([first, then])
    drawn = model.sample(4000, random_state=0)
    for name in {"c", "d"} & set(drawn.columns):
        for level in seen[name].unique():
            wanted = (seen[name] == level).mean()
            assert (drawn[name] == level).mean() == pytest.approx(wanted, abs=0.05), (name, level)


def test_a_model_that_goes_on_on_like_rows_says_the_like():
    draws = np.random.default_rng(0)
    c = draws.choice(["a", "b"], 600, p=[0.2, 0.8])
    frame = pd.DataFrame({"c": c, "d": np.where(draws.random(600) < 0.9, c, "z")})
    model = FlowDensity(max_steps=200, warm_start=True, random_state=0).fit(frame)
    before = model.score_samples(frame)
    model.max_steps = 1
    assert model.fit(frame).score_samples(frame) == pytest.approx(before, abs=0.1)


@pytest.mark.parametrize("scale", [1, 0.01])
def test_columns_are_found_in_the_rows_that_weights_count(scale):
    """A table of frequencies has the kinds, atoms and levels of the table that it counts."""
    draws = np.random.default_rng(0)
    counts = np.r_[300, np.ones(200, int)]
    frame = pd.DataFrame(
        {
            "x": np.r_[0.0, draws.normal(size=200)],
            "city": [f"c{k}" for k in range(201)],
            "age": np.arange(1, 202),
        }
    )
    whole = frame.loc[np.repeat(frame.index, counts)].reset_index(drop=True)
    counted = FlowDensity("gaussian", max_steps=2, random_state=0)
    counted.fit(frame, sample_weight=counts * scale)
    repeated = FlowDensity("gaussian", max_steps=2, random_state=0).fit(whole)
    assert counted.schema_.kinds == repeated.schema_.kinds
    assert counted.schema_.kinds["city"] == "categorical"
    assert counted.schema_["x"].coding.variable.atoms == (0.0,)
    if scale == 1:  # shares are no counts: their copies of a row stay on one side of the split
        share = (counted.sample(2000, random_state=0)["x"] == 0).mean()
        assert share == pytest.approx(300 / 500, abs=0.06)


def test_an_error_in_a_counted_table_numbers_its_own_row():
    frame = pd.DataFrame({"x": np.r_[np.zeros(5), np.inf, np.arange(9.0)]})
    with pytest.raises(DataError, match="1 infinite values, the first in row 5"):
        FlowDensity("gaussian", max_steps=1).fit(frame, sample_weight=np.r_[0, 7, 2, 3, 4, 1, np.ones(9)])
