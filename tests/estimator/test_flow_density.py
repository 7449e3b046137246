"""FlowDensity on tables: exact, mixed, conditional, incomplete; frames in, frames out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import diffeo
from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.tables.schema import Schema


def mixed_frame(rows=600, seed=0):
    draws = np.random.default_rng(seed)
    colour = draws.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2])
    count = draws.poisson(np.where(colour == "red", 2.0, 6.0))
    height = draws.normal(count, 0.5)
    weight = np.where(draws.random(rows) < 0.2, np.nan, draws.normal(size=rows))
    return pd.DataFrame(
        {"colour": pd.Categorical(colour), "count": count, "height": height, "weight": weight}
    )


@pytest.fixture(scope="module")
def model():
    return FlowDensity(max_steps=80, random_state=0, verbose=False).fit(mixed_frame(400))


def test_a_mixed_frame_is_scored_and_drawn_as_it_was(model):
    frame = mixed_frame(seed=1)
    log_p = model.score_samples(frame)
    assert log_p.shape == (600,)
    assert np.isfinite(log_p).all()
    drawn = model.sample(50, random_state=0)
    assert isinstance(drawn, pd.DataFrame)
    assert list(drawn.columns) == list(frame.columns)
    assert (drawn.dtypes == frame.dtypes).all()
    pd.testing.assert_frame_equal(drawn, model.sample(50, random_state=0))


def test_the_mass_of_a_small_table_is_one():
    """Sum over colour, count and hole; integral over height and weight, of which one is plain."""
    draws = np.random.default_rng(0)
    frame = mixed_frame(300).assign(weight=draws.normal(size=300))[["colour", "count", "weight"]]
    frame.loc[draws.random(300) < 0.2, "weight"] = np.nan
    holes = FlowDensity(max_steps=40, random_state=0).fit(frame)
    plain = FlowDensity(max_steps=40, random_state=0).fit(mixed_frame(300)[["count", "height"]])
    weight, height = np.linspace(-8, 8, 161), np.linspace(-10, 40, 1_001)
    total, other = 0.0, 0.0
    for count in range(31):
        both = frame_of("red", count, height, np.zeros(len(height)))[["count", "height"]]
        other += np.exp(plain.score_samples(both)).sum() * 0.05
        for colour in ("red", "green", "blue"):
            row = frame_of(colour, count, weight, weight)[["colour", "count", "weight"]]
            total += np.exp(holes.score_samples(row)).sum() * 0.1
            total += np.exp(holes.score_samples(row[:1].assign(weight=np.nan)))[0]
    assert total == pytest.approx(1, abs=1e-3)
    assert other == pytest.approx(1, abs=1e-3)


def frame_of(colour, count, height, weight):
    categories = ["blue", "green", "red"]
    return pd.DataFrame(
        {
            "colour": pd.Categorical([colour] * len(height), categories),
            "count": np.full(len(height), count),
            "height": height,
            "weight": weight,
        }
    )


def test_held_out_nats_are_those_of_fresh_rows(model):
    fresh = model.score_samples(mixed_frame(1_000, seed=7))
    error = model.held_out_error_ + fresh.std() / len(fresh) ** 0.5
    assert abs(fresh.mean() - model.held_out_nats_) < 4 * error


def test_what_the_schema_rules_out_has_no_density(model):
    frame = mixed_frame(3)
    frame["colour"] = ["red", "green", "violet"]
    with pytest.warns(UserWarning, match="colour"):
        log_p = model.score_samples(frame)
    assert np.isneginf(log_p[2])
    assert np.isfinite(log_p[:2]).all()


def test_the_latent_goes_there_and_back(model):
    frame = mixed_frame(40, seed=3)
    z = model.transform(frame)
    assert z.shape == (40, 4)
    back = model.inverse_transform(z)
    pd.testing.assert_frame_equal(back, frame, rtol=1e-4, atol=1e-4, check_categorical=False)


def test_holes_are_filled(model):
    frame = mixed_frame(30, seed=5)
    filled = model.impute(frame, 4, random_state=0)
    assert len(filled) == 4
    known = frame["weight"].notna()
    for table in filled:
        assert table["weight"].notna().all()
        assert (table.loc[known, "weight"] == frame.loc[known, "weight"]).all()
    assert (filled.effective > 0).all()


def test_outliers_are_called_at_the_stated_rate(model):
    fresh = mixed_frame(1_000, seed=11)
    share = (model.predict(fresh) == -1).mean()
    assert abs(share - model.contamination) < 0.03
    far = frame_of("red", 2, np.array([60.0]), np.array([0.0]))
    assert model.predict(far).tolist() == [-1]


@pytest.mark.parametrize("kind", ["numpy", "polars", "arrow"])
def test_every_frame_comes_back(kind):
    frame = mixed_frame(120)[["count", "height"]]
    data = {
        "numpy": lambda: frame.to_numpy(),
        "polars": lambda: pl.from_pandas(frame),
        "arrow": lambda: pl.from_pandas(frame).to_arrow(),
    }[kind]()
    fitted = FlowDensity(max_steps=10, random_state=0).fit(data)
    drawn = fitted.sample(5, random_state=0)
    assert type(drawn) is type(data)
    assert drawn.shape == (5, 2)
    assert np.isfinite(fitted.score_samples(data)).all()


def test_a_context_is_conditioned_on():
    draws = np.random.default_rng(0)
    c = draws.normal(size=(800, 1))
    x = c + 0.1 * draws.normal(size=(800, 1))
    fitted = FlowDensity(max_steps=200, random_state=0).fit(x, context=c)
    drawn = fitted.sample(50, random_state=0, context=np.array([[-1.0], [1.0]]))
    assert drawn.shape == (100, 1)
    assert abs(drawn[:50].mean() + 1) < 0.2
    assert abs(drawn[50:].mean() - 1) < 0.2
    grid = np.linspace(-3, 3, 2_001)[:, None]
    mass = np.exp(fitted.score_samples(grid, context=np.full_like(grid, 0.5))).sum() * 0.003
    assert mass == pytest.approx(1, abs=1e-3)
    with pytest.raises(ConfigError, match="context"):
        fitted.score_samples(x)


def test_first_columns_can_be_fixed():
    frame = mixed_frame(500)
    fitted = FlowDensity(first=["colour"], max_steps=100, random_state=0).fit(frame)
    red = fitted.conditional(colour="red")
    assert (red.sample(20, random_state=0)["colour"] == "red").all()
    rows = frame[frame["colour"] == "red"]
    others = frame[frame["colour"] != "red"]
    share = sum(
        np.exp(
            fitted.score_samples(rows.iloc[:1]) - fitted.conditional(colour=c).score_samples(rows.iloc[:1])
        )
        for c in ("red",)
    )
    assert 0.4 < share[0] < 0.6
    assert np.isneginf(red.score_samples(others)).all()
    with pytest.raises(ConfigError, match="first="):
        fitted.conditional(height=1.0)


def test_weights_repeat_rows():
    draws = np.random.default_rng(0)
    x = np.concatenate([draws.normal(-3, 1, 300), draws.normal(3, 1, 300)])[:, None]
    weight = np.repeat([3.0, 1.0], 300)
    fitted = FlowDensity(max_steps=100, random_state=0).fit(x, sample_weight=weight)
    assert (fitted.sample(2_000, random_state=0) < 0).mean() == pytest.approx(0.75, abs=0.05)


def test_more_rows_are_learnt_from():
    draws = np.random.default_rng(0)
    fitted = FlowDensity(max_steps=60, random_state=0)
    fitted.partial_fit(draws.normal(0, 1, (400, 2)))
    before = fitted.score_samples(np.full((1, 2), 4.0))
    fitted.partial_fit(draws.normal(4, 1, (400, 2)))
    assert fitted.score_samples(np.full((1, 2), 4.0)) > before + 1


def test_the_same_seed_gives_the_same_density():
    frame = mixed_frame(200)
    one, two = (FlowDensity(max_steps=20, random_state=3).fit(frame) for _ in range(2))
    np.testing.assert_array_equal(one.score_samples(frame), two.score_samples(frame))


def test_it_works_inside_scikit_learn():
    x = np.random.default_rng(0).normal(size=(120, 2))
    model = FlowDensity(architecture="gaussian", max_steps=5, random_state=0)
    assert np.isfinite(cross_val_score(model, x, cv=3)).all()
    search = GridSearchCV(model, {"architecture": ["gaussian", "kernel"]}, cv=2, n_jobs=2).fit(x)
    assert search.best_params_["architecture"] in ("gaussian", "kernel")
    pipe = make_pipeline(StandardScaler(), clone(model)).fit(x)
    assert pipe.score_samples(x).shape == (120,)


def test_a_model_is_saved_and_loaded(model, tmp_path):
    frame = mixed_frame(50, seed=2)
    model.save(tmp_path / "table.safetensors")
    again = FlowDensity.load(tmp_path / "table.safetensors")
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    pd.testing.assert_frame_equal(again.sample(5, random_state=0), model.sample(5, random_state=0))
    assert again.get_params() == model.get_params()


def test_an_edited_schema_that_was_saved_is_taken_as_it_is(tmp_path):
    frame = mixed_frame(100)
    Schema.infer(frame).with_kind("count", "categorical").save(tmp_path / "schema.json")
    schema = Schema.load(tmp_path / "schema.json")
    model = clone(FlowDensity("gaussian", kinds=schema, max_steps=2, random_state=0)).fit(frame)
    assert model.schema_.kinds["count"] == "categorical"
    assert isinstance(model.sample(3, random_state=0), pd.DataFrame)
    model.save(tmp_path / "model.safetensors")
    again = FlowDensity.load(tmp_path / "model.safetensors")
    assert again.kinds.kinds == schema.kinds
    np.testing.assert_array_equal(again.score_samples(frame), model.score_samples(frame))
    with pytest.raises(ConfigError, match=r"first=.*whole schema"):
        FlowDensity(kinds=schema, first=["colour"]).fit(frame)
    odd = frame.assign(count=frame["count"].replace(int(frame["count"].iloc[0]), 99))
    refused = pytest.raises(DataError, match="'count' that the schema of fit rules out")
    with refused, pytest.warns(UserWarning, match="cells that the schema says cannot be"):
        FlowDensity("gaussian", kinds=schema, max_steps=2).fit(odd)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"architecture": "magic"}, ConfigError, "architecture"),
        ({"time_budget": 0}, ConfigError, "time_budget"),
        ({"contamination": 0.7}, ConfigError, "contamination"),
        ({"first": "colour"}, ConfigError, "first"),
        ({"kinds": {"nothing": "count"}}, (ConfigError, DataError), "nothing"),
    ],
)
def test_wrong_arguments_are_named(change, error, word):
    with pytest.raises(error, match=word):
        FlowDensity(**change).fit(mixed_frame(50))


def test_it_is_at_the_top_of_the_package():
    assert diffeo.FlowDensity is FlowDensity
