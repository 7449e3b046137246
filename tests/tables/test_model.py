"""The model of a table: units, precision, isolation of rows, files."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import diffeo
from diffeo.errors import ConfigError, DataError, FileError
from diffeo.tables import Architecture, NumericColumn, NumericSchema, TableModel, fit_table, training_rows
from diffeo.training import TrainConfig

from .conftest import measurements, quick_fit


def test_scaling_a_column_shifts_every_score_by_its_logarithm(frame, model):
    kilometres = frame.with_columns(pl.col("length") / 1000)
    other, _ = quick_fit(kilometres)
    shift = other.score(kilometres) - model.score(frame)
    assert np.abs(shift - math.log(1000)).max() < 1e-4


def test_the_density_integrates_to_one_in_the_units_of_the_data():
    rng = np.random.default_rng(1)
    frame = pl.DataFrame({"a": 300 + 40 * rng.normal(size=400), "b": 1e-3 * rng.normal(size=400)})
    frame = frame.with_columns(b=pl.col("b") + 1e-7 * (pl.col("a") - 300) ** 2)
    model, _ = quick_fit(frame)
    draws = model.sample(5000, seed=1).to_numpy()
    centre, spread = draws.mean(0), draws.std(0)
    axes = [np.linspace(centre[k] - 12 * spread[k], centre[k] + 12 * spread[k], 601) for k in (0, 1)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = math.prod(axis[1] - axis[0] for axis in axes)
    assert abs(np.exp(model.score(grid)).sum() * cell - 1) < 1e-3


def test_scores_are_those_of_one_float64_flow_of_the_raw_columns(frame, model):
    flow = model.as_flow()
    assert flow.dtype == torch.float64
    exact = flow.log_prob(torch.from_numpy(frame.to_numpy().copy())).detach().numpy()
    assert np.abs(model.score(frame) - exact).max() < 1e-3
    assert next(model.flow.parameters()).dtype == torch.float32  # as_flow shares nothing


def test_large_offsets_lose_no_digits(frame, model):
    """In float32 a time of 1.7e9 seconds is known to two minutes only; here to a microsecond."""
    moved = frame.head(1).to_numpy() + np.array([[0, 0, 0.0], [0, 0, 60.0]])
    near, far = model.score(moved)
    slope = model.as_flow().log_prob(torch.from_numpy(moved)).detach().diff().item()
    assert far - near == pytest.approx(slope, abs=1e-4)
    assert near != far


@pytest.mark.parametrize(
    ("value", "score"),
    [(math.nan, math.nan), (math.inf, -math.inf), (-math.inf, -math.inf), (1e300, -math.inf)],
)
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_hostile_row_keeps_to_itself(frame, model, value, score, column):
    rows = frame.head(50).to_numpy().copy()
    expected = model.score(rows)
    rows[7, column] = value
    found = model.score(rows)
    np.testing.assert_equal(found[7], score)
    assert np.array_equal(np.delete(found, 7), np.delete(expected, 7))
    x = torch.from_numpy(rows)
    x.requires_grad_()
    flow_gradients = torch.autograd.grad(model.log_prob(x)[:7].sum(), list(model.flow.parameters()))
    assert all(gradient.isfinite().all() for gradient in flow_gradients)


def test_what_is_scored_may_come_in_many_shapes(frame, model):
    expected = model.score(frame)
    shuffled = frame.select("time", pl.lit("x").alias("note"), "mass", "length")
    assert np.array_equal(model.score(shuffled), expected)
    assert np.array_equal(model.score(frame.to_numpy()), expected)
    assert np.array_equal(model.score(np.asfortranarray(frame.to_numpy())), expected)
    assert np.array_equal(model.score(frame.to_numpy().tolist()), expected)
    table = pd.DataFrame(frame.to_dict(as_series=False))[["mass", "time", "length"]]
    assert np.array_equal(model.score(table), expected)
    assert model.score(frame.head(0)).shape == (0,)
    missing = frame.head(3).with_columns(mass=pl.Series([1.0, None, 2.0]))
    assert np.array_equal(np.isnan(model.score(missing)), [False, True, False])


def test_what_cannot_be_scored_is_named(frame, model):
    with pytest.raises(
        DataError, match=r"column 'mass' of the model is not in the data.*Did you mean 'masse'"
    ):
        model.score(frame.rename({"mass": "masse"}))
    with pytest.raises(DataError, match=r"column 'mass' \(String\) is not numeric: row 1 holds 'heavy'"):
        model.score(frame.with_columns(mass=pl.lit("heavy")))
    with pytest.raises(DataError, match=r"shape \(2, 2\); expected \(rows, 3\)"):
        model.score(np.zeros((2, 2)))
    with pytest.raises(DataError, match="expected real numbers"):
        model.score([["a", "b", "c"]])


def test_scores_do_not_depend_on_how_many_rows_are_scored_together(frame, model):
    whole = model.score(frame)
    assert np.abs(model.score(frame[17:18])[0] - whole[17]) < 1e-5
    long = pl.concat([frame] * 50)  # more rows than pass through the flow at a time
    assert np.abs(model.score(long) - np.tile(whole, 50)).max() < 1e-5


def test_samples_have_the_columns_and_the_units_and_follow_the_seed(frame, model):
    draws = model.sample(4000, seed=3)
    assert draws.columns == frame.columns
    assert draws.equals(model.sample(4000, seed=3))
    assert not draws.equals(model.sample(4000, seed=4))
    assert draws.equals(pl.concat(list(model.iter_samples(4000, seed=3, rows=4000))))
    # The draws come from the density that scores: their mean log p is its negative entropy, whichever
    # draws estimate it.
    first, second = (model.score(model.sample(4000, seed=seed)) for seed in (5, 6))
    assert abs(first.mean() - second.mean()) < 5 * first.std() * math.sqrt(2 / 4000)
    assert [part.height for part in model.iter_samples(10, rows=4)] == [4, 4, 2]
    assert model.sample(0).columns == frame.columns


def test_a_file_loads_elsewhere_with_identical_scores(tmp_path, frame, model):
    path = tmp_path / "model.safetensors"
    model.save(path, {"note": "kept"})
    frame.write_parquet(tmp_path / "data.parquet")
    code = (
        "import sys, numpy, polars, diffeo.files\n"
        "model = diffeo.files.load(sys.argv[1])\n"
        "numpy.save(sys.argv[3], model.score(polars.read_parquet(sys.argv[2])))\n"
    )
    paths = [str(tmp_path / name) for name in ("model.safetensors", "data.parquet", "scores.npy")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True)
    assert np.array_equal(np.load(tmp_path / "scores.npy"), model.score(frame))
    loaded = diffeo.load(path)
    assert loaded.schema == model.schema
    assert loaded.standardize.get_buffer("loc").dtype == torch.float64
    loaded.save(tmp_path / "again.safetensors", {"note": "kept"})
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_hostile_column_names_survive_a_file(tmp_path):
    names = ["naïve ünïcode", 'say "hi"', "two\nlines", "<script>", "=1+1", "kind", "args", "🙂"]
    model = TableModel(
        NumericSchema(tuple(NumericColumn(name) for name in names)),
        Architecture(couplings=2, hidden=(4,)).build(8, 100),
    )
    model.save(tmp_path / "m.safetensors")
    assert diffeo.load(tmp_path / "m.safetensors").schema.names == tuple(names)


def test_a_model_is_refused_where_schema_and_flow_do_not_fit():
    flow = diffeo.flows.RealNVP(2, couplings=2, hidden=(4,))
    with pytest.raises(ConfigError, match=r"events of shape \(2,\).*expected shape \(1,\)"):
        TableModel(NumericSchema((NumericColumn("a"),)), flow)
    with pytest.raises(ConfigError, match="the name 'a' twice"):
        NumericSchema((NumericColumn("a"), NumericColumn("a")))
    with pytest.raises(ConfigError, match=r"expected a diffeo.tables.NumericSchema"):
        TableModel(["a", "b"], flow)


def test_a_file_with_an_impossible_schema_is_refused(tmp_path, model):
    import json

    from diffeo.files import container, describe_file

    model.save(tmp_path / "m.safetensors")
    about = describe_file(tmp_path / "m.safetensors")
    del about["tensors"], about["digest"]
    about = json.loads(json.dumps(about).replace('"mass"', '"time"'))
    container.write(tmp_path / "bad.safetensors", model.state_dict(), about)
    with pytest.raises(FileError, match="the name 'time' twice"):
        diffeo.load(tmp_path / "bad.safetensors")


def test_the_same_seed_gives_the_same_model_and_touches_no_global_state(frame):
    before = torch.random.get_rng_state()
    first, result = quick_fit(frame)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12345)
    second, again = quick_fit(frame)
    assert np.array_equal(first.score(frame), second.score(frame))
    assert result.best_held_out_nats == again.best_held_out_nats
    torch.random.set_rng_state(before)


def test_held_out_rows_take_no_part_in_anything(frame):
    """Changed held-out rows change the figure that is reported, and nothing in the model."""
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(0))
    held_out = order[: round(0.1 * len(frame))].numpy()
    values = frame.to_numpy().copy()
    values[held_out] *= 1.01
    config = TrainConfig(max_epochs=1, patience=None, evaluate_every=10**6, device="cpu")
    models = [
        fit_table(
            pl.DataFrame(dict(zip(frame.columns, array.T, strict=True))),
            architecture=Architecture(couplings=2, hidden=(8,)),
            config=config,
        )
        for array in (frame.to_numpy(), values)
    ]
    (first, one), (second, two) = models
    assert np.array_equal(first.standardize.get_buffer("loc"), second.standardize.get_buffer("loc"))
    assert one.history[0].held_out_nats != two.history[0].held_out_nats
    assert one.history[-1].train_nats == two.history[-1].train_nats


def test_the_figures_of_a_fit_are_in_the_units_of_the_data(frame):
    seen = []
    model, result = quick_fit(frame, callback=lambda evaluation: seen.append(evaluation) and None)
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(0)).numpy()
    scores = model.score(frame.to_numpy()[order[: round(0.1 * len(frame))]])
    assert result.best_held_out_nats == pytest.approx(-scores.mean(), abs=1e-5)
    assert [point.held_out_nats for point in seen] == [point.held_out_nats for point in result.history]


def test_fitting_learns_what_a_gaussian_cannot():
    """Half-moon-like data: the flow beats the best full-covariance Gaussian on held-out rows."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=1500)
    frame = pl.DataFrame({"a": 50 + 10 * a, "b": 1e-4 * (a**2 + 0.3 * rng.normal(size=1500))})
    model, result = fit_table(
        frame[:1200],
        architecture=Architecture(couplings=4, hidden=(32,)),
        config=TrainConfig(max_epochs=8, device="cpu", learning_rate=3e-3),
    )
    test, train = frame[1200:].to_numpy(), frame[:1200].to_numpy()
    gaussian = torch.distributions.MultivariateNormal(
        torch.from_numpy(train.mean(0)), torch.from_numpy(np.cov(train.T))
    )
    assert model.score(test).mean() > gaussian.log_prob(torch.from_numpy(test)).mean().item() + 0.2
    assert result.stopped_by in {"max_epochs", "early stopping"}


def test_one_column_says_that_only_a_bell_can_be_learned():
    with pytest.warns(UserWarning, match="can only be a normal density"):
        model, _ = quick_fit(measurements().select("length"))
    assert model.score(np.array([[1000.0]])).shape == (1,)


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0, 1.0])
def test_the_share_of_held_out_rows_is_checked(frame, share):
    with pytest.raises(ConfigError, match=r"validation=.* above 0 and at most 0\.5"):
        fit_table(training_rows(frame), validation=share)


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ConfigError, match=r"flow='realnpv'.*Did you mean 'realnvp'"):
        Architecture("realnpv")
    with pytest.raises(ConfigError, match="couplings=0"):
        Architecture(couplings=0)
