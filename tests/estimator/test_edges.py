"""Short clocks, cells far out, columns that are left out, and names that Python has taken."""

import numpy as np
import pandas as pd
import pytest

import diffeo
from diffeo import FlowDensity
from diffeo.errors import ConfigError, DataError
from diffeo.estimator.budget import held_in, splits_in
from diffeo.estimator.folds import folds_of
from diffeo.estimator.halving import _seconds_a_step
from diffeo.estimator.portfolio import portfolio
from diffeo.estimator.table import Table
from diffeo.estimator.training import Trained
from diffeo.laws import Affine


def correlated(rows=200, seed=0):
    x = np.random.default_rng(seed).normal(size=(rows, 3))
    x[:, 1] += x[:, 0]
    return x


@pytest.fixture(scope="module")
def gaussian():
    return FlowDensity("gaussian", max_steps=1, random_state=0).fit(correlated())


@pytest.mark.filterwarnings("error")
def test_cells_far_beyond_all_others_disturb_no_draw(gaussian):
    holes = correlated(4, seed=1)
    holes[:, 1] = np.nan
    alone = gaussian.impute(holes[2:], random_state=0)
    holes[0, 0], holes[1, 2] = 1e200, -1e60
    found = gaussian.impute(holes, random_state=0)
    table = found.tables[0]
    assert np.isfinite(table).all()
    assert table[0, 0] == 1e200
    assert found.effective[2:] == pytest.approx(alone.effective, rel=0.2)
    assert (np.abs(table[2:, 1]) < 10).all()


def test_an_array_with_an_identifier_is_conditioned_on():
    draws = np.random.default_rng(0)
    x = np.empty((60, 3), dtype=object)
    x[:, 0] = [f"patient {k}" for k in range(60)]
    x[:, 1] = draws.choice(["a", "b"], 60)
    x[:, 2] = draws.normal(size=60)
    model = FlowDensity(
        "gaussian", kinds={"x0": "identifier"}, first=["x1"], max_steps=1, random_state=0
    ).fit(x)
    given = model.conditional(x1="a")
    assert given.sample(3, random_state=0)[:, 0].tolist() == ["a"] * 3
    assert (np.isfinite(given.score_samples(x)) == (x[:, 1] == "a")).all()


def test_an_array_may_come_without_what_was_left_out():
    draws = np.random.default_rng(0)
    x = np.empty((60, 3), dtype=object)
    x[:, 0] = [f"patient {k}" for k in range(60)]
    x[:, 1] = draws.choice(["a", "b"], 60)
    x[:, 2] = draws.normal(size=60)
    model = FlowDensity("gaussian", kinds={"x0": "identifier"}, max_steps=1, random_state=0).fit(x)
    drawn = model.sample(3, random_state=0)
    assert drawn.shape == (3, 2)
    assert np.isfinite(model.score_samples(drawn)).all()
    assert model.score_samples(x[:, 1:]).tolist() == model.score_samples(x).tolist()
    holes = x.copy()
    holes[0, 2] = None
    assert np.isfinite(model.score_samples(model.impute(holes, random_state=0).tables[0])).all()
    assert diffeo.audit(model, x, group="x1", max_steps=2, permutations=19).rows == 60
    with pytest.raises(ValueError, match="3 features"):
        model.score_samples(x[:, 2:])
    with pytest.raises(DataError, match=r"1 columns; expected 3: .*\(or 2: without what is left out\)"):
        model.schema_.encode(x[:, 2:])


def test_a_column_may_be_called_context():
    draws = np.random.default_rng(0)
    frame = pd.DataFrame({"context": draws.choice(["a", "b"], 60), "a b": draws.normal(size=60)})
    model = FlowDensity("gaussian", max_steps=1, random_state=0).fit(frame)
    assert set(model.conditional({"context": "b"}).sample(4, random_state=0)["context"]) == {"b"}
    with pytest.raises(ConfigError, match="no column is fixed"):
        model.conditional()


def test_one_split_stands_for_five_where_a_table_is_wide_and_the_time_short():
    assert splits_in(500, 10.0) == 1
    assert splits_in(500, 100.0) == splits_in(20, 10.0) == splits_in(500, np.inf) == 5
    (train, held), *others = folds_of(100, 0, splits=1)
    assert (len(train), len(held), others) == (80, 20, [])
    assert not set(train) & set(held)


def test_classical_members_read_as_many_rows_as_there_is_time_for():
    x = np.random.default_rng(0).normal(size=(3_000, 40))
    folds = [(np.arange(2_700), np.arange(2_700, 3_000))]
    table = Table(x, folds, None, None, None, seed=0)
    assert len(table.classical("standard").whole.u) == 2_700
    assert len(table.classical("standard", seconds=1e-6).whole.u) == 800


def test_a_report_says_what_there_was_no_time_for():
    model = FlowDensity(time_budget=1e-3, random_state=0).fit(correlated(100))
    assert "no kernel density" in model.report_
    assert np.isfinite(model.held_out_nats_)


def test_few_rows_that_lie_near_a_curve_are_learnt_with_less_noise():
    draws = np.random.default_rng(0)
    t = draws.uniform(-1, 1, 300)
    rows = np.column_stack([t, t**2 + 1e-3 * draws.normal(size=300)])
    model = FlowDensity("spline-autoregressive", max_steps=150, random_state=0).fit(rows)
    assert "noise of 0.01 gains" in model.report_


@pytest.mark.parametrize(
    ("columns", "budget", "most"),
    [(40, 10.0, 6_000), (40, 110.0, 50_000), (1, 1e305, 50_000), (5_000, 1.0, 2_000), (3, np.inf, 50_000)],
)
def test_no_more_rows_are_held_out_than_there_is_time_to_score(columns, budget, most):
    assert held_in(columns, budget) == most


def test_a_longer_fit_that_goes_on_holds_out_nothing_that_was_learnt(monkeypatch):
    monkeypatch.setattr("diffeo.estimator.learning.held_in", lambda columns, budget: int(budget * 200))
    x = np.random.default_rng(0).normal(size=(6_000, 2))
    model = FlowDensity("gaussian", time_budget=1.0, random_state=0, warm_start=True).fit(x)
    before = model.seen_.folds[0]
    model.set_params(time_budget=3.0).fit(x)
    assert len(before[1]) == 200
    assert not set(model.seen_.folds[0][1]) & set(before[0])


def test_affine_layers_are_tried_first_where_columns_are_many():
    views = ("gaussian", "standard")
    broad = portfolio(20_000, 30, 0, 60.0, views)
    assert (broad[0].architecture, broad[0].view, broad[0].linear) == ("affine", "standard", True)
    assert all(c.architecture != "affine" for c in portfolio(20_000, 6, 0, 60.0, views))
    assert portfolio(20_000, 30, 0, 60.0, ["gaussian"])[0].view == "gaussian"
    wide = portfolio(200_000, 30, 0, 1_000.0, views)
    assert wide[0].width > broad[0].width
    assert portfolio(200_000, 30, 0, np.inf, views)[0].width == broad[0].width
    assert [c.curved for c in wide] == [0, 2, 0, 0]
    laws = [layer.law for layer in wide[1].build(30, 0).bijection.bijections[:-1]]
    assert [isinstance(law, Affine) for law in laws] == [False] * 2 + [True] * 4


def test_a_step_is_timed_without_what_surrounds_it(monkeypatch):
    def train(candidate, rows, seconds, seed, steps):
        return Trained(None, 0.0, steps, 3.0 + 0.01 * steps, "steps")

    monkeypatch.setattr("diffeo.estimator.halving.train", train)
    assert _seconds_a_step(None, None, 100.0, 0) == pytest.approx(0.01)
    assert _seconds_a_step(None, None, 1.0, 0) == pytest.approx(0.01)


def test_a_column_that_was_scaled_to_its_range_has_a_flow():
    numbers = np.random.default_rng(0).uniform(size=(300, 2))
    x = numbers - numbers.min(0)
    x /= x.max(0)
    model = FlowDensity("spline-coupling", max_steps=5, random_state=0).fit(x)
    assert all(not variable.atoms for variable in model.schema_.variables)
    scores = model.score_samples(x)  # the rows at 0 and 1 have the density just within
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 10
    drawn = model.sample(200, random_state=0)
    assert ((drawn >= 0) & (drawn <= 1)).all()
