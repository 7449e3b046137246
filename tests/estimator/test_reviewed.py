"""What a fresh pair of eyes found in FlowDensity, held."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError


@pytest.mark.parametrize("weights", [np.full(300, 2.0), np.random.default_rng(1).gamma(2.0, size=300)])
def test_copies_of_a_row_are_on_one_side_of_the_split(weights):
    x = np.random.default_rng(0).normal(size=(300, 2))
    model = FlowDensity("kernel", max_steps=1, random_state=0).fit(x, sample_weight=weights)
    for train, held in model.seen_.folds:
        both = np.intersect1d(model.seen_.rows.value[train, 0], model.seen_.rows.value[held, 0])
        assert not both.size


def test_constant_weights_change_the_density_little():
    draws = np.random.default_rng(0)
    x, test = draws.normal(size=(400, 3)), draws.normal(size=(2_000, 3))
    plain = FlowDensity("kernel", max_steps=1, random_state=0).fit(x)
    double = FlowDensity("kernel", max_steps=1, random_state=0).fit(x, sample_weight=np.full(400, 2.0))
    assert double.score(test) == pytest.approx(plain.score(test), abs=0.05)
    assert (double.predict(test) == -1).mean() == pytest.approx(0.05, abs=0.03)


def test_warm_start_learns_from_the_new_rows_alone():
    x = np.random.default_rng(0).normal(size=(60, 2))
    model = FlowDensity("gaussian", max_steps=1, random_state=0, warm_start=True).fit(x).fit(x)
    assert len(model.seen_.rows) == 60


@pytest.mark.parametrize("more", [1 + 4, 400, 2_500])
def test_what_was_held_out_stays_so(more):
    draws = np.random.default_rng(0)
    for first in (300, 2_200):
        model = FlowDensity("gaussian", max_steps=1, random_state=0)
        before = [held for _, held in model.partial_fit(draws.normal(size=(first, 1))).seen_.folds]
        model.partial_fit(draws.normal(size=(more, 1)))
        for old, (train, held) in zip(before, model.seen_.folds, strict=True):
            assert np.isin(old, held).all()
            assert not np.isin(train, held).any()


def test_independent_columns_are_filled_independently():
    draws = np.random.default_rng(0)
    c = np.where(draws.random(1_500) < 0.5, "u", "v").astype(object)
    x = draws.normal(size=1_500)
    c[draws.random(1_500) < 0.1] = None
    model = FlowDensity("gaussian", max_steps=20, random_state=0).fit(pd.DataFrame({"c": c, "x": x}))
    holes = pd.DataFrame({"c": np.array([None] * 2_000, object), "x": np.full(2_000, np.nan)})
    filled = model.impute(holes, 1, random_state=1, proposals=10).tables[0]
    means = filled.groupby("c").x.mean()
    assert abs(means["u"] - means["v"]) < 0.2
    assert filled.x.std() == pytest.approx(1, abs=0.1)


def test_filled_tables_keep_index_and_complete_rows():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame(draws.normal(size=(80, 2)), columns=["a", "b"], index=np.arange(500, 580))
    frame.iloc[3, 1] = np.nan
    model = FlowDensity("gaussian", max_steps=5, random_state=0).fit(frame)
    filled = model.impute(frame, 150, random_state=0)
    assert len({table.loc[503, "b"] for table in filled}) > 10
    for table in list(filled)[:3]:
        pd.testing.assert_frame_equal(table.drop(503), frame.drop(503))


@pytest.mark.parametrize(("asked", "dtype"), [(1.7, np.int64), (1.7, np.float64)])
def test_a_fixed_value_is_the_one_that_was_asked_for(asked, dtype):
    x = np.random.default_rng(0).integers(0, 4, (100, 2)).astype(dtype)
    model = FlowDensity(first=["x0"], max_steps=5, random_state=0).fit(x)
    with pytest.raises(ConfigError, match="x0"):
        model.conditional(x0=asked)
    assert (model.conditional(x0=2).sample(5, random_state=0)[:, 0] == 2).all()


def test_a_fixed_context_is_scored_under():
    draws = np.random.default_rng(0)
    c, x = draws.integers(0, 2, (200, 1)), draws.integers(0, 3, (200, 2))
    model = FlowDensity(first=["x0"], max_steps=10, random_state=0).fit(x, context=c)
    under = model.conditional(context=c[:1], x0=1)
    rows = np.array([[1, k] for k in range(3)])
    assert np.exp(under.score_samples(rows)).sum() == pytest.approx(1, abs=0.02)


def test_rows_that_a_first_fit_ruled_out_are_named():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({"c": draws.choice(["a", "b"], 60), "x": draws.normal(size=60)})
    model = FlowDensity("gaussian", max_steps=2, random_state=0).partial_fit(frame)
    with pytest.warns(UserWarning, match="density 0"), pytest.raises(DataError, match="'c'"):
        model.partial_fit(pd.DataFrame({"c": ["z"] * 5, "x": np.zeros(5)}))


def test_a_row_that_is_ruled_out_is_numbered_as_in_the_table_given():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({"c": draws.choice(["a", "b"], 60), "x": draws.normal(size=60)})
    model = FlowDensity("gaussian", max_steps=2, random_state=0).partial_fit(
        frame[["x"]], context=frame[["c"]]
    )
    plain = FlowDensity("gaussian", max_steps=2, random_state=0).partial_fit(frame)
    frame.loc[7, "c"] = "z"
    weights = np.r_[np.zeros(5), np.ones(55)]
    with pytest.raises(DataError, match="row 7 of context"):
        model.partial_fit(frame[["x"]], context=frame[["c"]], sample_weight=weights)
    with pytest.warns(UserWarning, match="density 0"), pytest.raises(DataError, match="row 7 of X"):
        plain.partial_fit(frame, sample_weight=weights)


def test_numbers_of_numpy_are_numbers(tmp_path):
    x = np.random.default_rng(0).normal(size=(50, 1))
    model = FlowDensity(
        "gaussian", max_steps=np.int64(2), contamination=np.float32(0.1), random_state=0
    ).fit(x)
    assert model.sample(np.int64(2)).shape == (2, 1)
    model.save(tmp_path / "m.safetensors")


def test_columns_that_are_left_out_need_not_be_there():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({"key": [f"k{k}" for k in range(60)], "x": draws.normal(size=60)})
    with pytest.warns(UserWarning, match="key"):
        model = FlowDensity("gaussian", max_steps=2, random_state=0).fit(frame)
    assert np.isfinite(model.score_samples(model.sample(3, random_state=0))).all()


def test_a_context_column_can_be_told_its_kind():
    draws = np.random.default_rng(0)
    context = pd.DataFrame({"k": draws.integers(0, 3, 90)})
    frame = pd.DataFrame({"x": draws.normal(size=90)})
    model = FlowDensity("gaussian", kinds={"k": "categorical"}, max_steps=2, random_state=0)
    model.fit(frame, context=context)
    with pytest.raises(DataError, match="'k'"):
        model.score_samples(frame[:1], context=pd.DataFrame({"k": [7]}))


def test_kinds_with_numbers_of_numpy_go_into_a_file(tmp_path):
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({"q": draws.integers(1, 4, 60), "x": draws.normal(size=60)})
    kinds = {
        "q": {"kind": "ordinal", "levels": np.array([3, 2, 1])},
        "x": {"kind": "bounded", "low": np.int64(-10)},
    }
    model = FlowDensity("gaussian", kinds=kinds, max_steps=2, random_state=0).fit(frame)
    model.save(tmp_path / "m.safetensors")
    again = FlowDensity.load(tmp_path / "m.safetensors")
    assert again.kinds["q"]["levels"] == [3, 2, 1]
    assert again.score_samples(frame).tolist() == model.score_samples(frame).tolist()


@pytest.mark.parametrize("container", [pd.Index, np.array, tuple])
def test_columns_that_come_first_may_be_an_index(container, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    model = FlowDensity("gaussian", first=container(["b", "a"]), max_steps=2, random_state=0).fit(frame)
    assert model.order_[:2] == ["b", "a"]
    model.save(tmp_path / "m.safetensors")
    assert FlowDensity.load(tmp_path / "m.safetensors").first == ("b", "a")


def test_going_on_leaves_the_density_before_as_it_was():
    x = np.random.default_rng(0).normal(size=(200, 2))
    x[:, 1] += 2 * np.sin(3 * x[:, 0])
    model = FlowDensity("spline-coupling", max_steps=60, random_state=0).fit(x)
    before = copy.copy(model)
    flows = before.density_.joint.continuous.model.flows
    assert len(flows) == 7
    for flow in flows:
        flow.double()
    scores = before.score_samples(x)
    model.max_steps = 1
    model.partial_fit(x[:20] + 0.1)
    assert {flow.dtype for flow in flows} == {torch.float64}
    assert before.score_samples(x).tolist() == scores.tolist()


def test_a_row_that_no_column_can_hold_is_numbered_as_in_the_table_given():
    x = np.random.default_rng(0).normal(size=60)
    weights = np.r_[np.zeros(5), np.ones(55)]
    infinite = pd.DataFrame({"x": np.where(np.arange(60) == 9, np.inf, x)})
    objects = pd.DataFrame({"x": [b"a" if k == 9 else k for k in range(60)]}, dtype=object)
    for frame in (infinite, objects):
        with pytest.raises(DataError, match="row 9"):
            FlowDensity("gaussian", max_steps=1).fit(frame, sample_weight=weights)


def test_frames_of_pandas_have_the_columns_of_fit_whether_some_were_left_out_or_not():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame(draws.normal(size=(60, 2)), columns=["a", "b"])
    named = frame.assign(key=[f"k{k}" for k in range(60)])
    plain = FlowDensity("gaussian", max_steps=2, random_state=0).fit(frame)
    keyed = FlowDensity("gaussian", kinds={"key": "identifier"}, max_steps=2, random_state=0).fit(named)
    assert keyed.score_samples(named).tolist() == keyed.score_samples(frame).tolist()
    for model in (plain, keyed):
        for odd in (frame[["b", "a"]], frame.assign(more=1.0), frame[["a"]]):
            with pytest.raises(ValueError, match="feature names"):
                model.score_samples(odd)
