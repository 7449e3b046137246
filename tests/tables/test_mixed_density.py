"""MixedDensity: normalised to the last outcome, learns what is planted, never worse than its start."""

from dataclasses import replace

import numpy as np
import pytest

import diffeo
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.tables.mixed import MixedDensity, MixedModel, MixedSettings
from diffeo.tables.mixed.marginals import fit_marginals
from diffeo.tables.variable import Encoded, Variable
from tests.tables.mixed_material import (
    ANSWER,
    COLOUR,
    COUNT,
    FLOOD,
    PRICE,
    RAIN,
    WIDTH,
    drawn,
    everything,
    outcomes,
    stressed,
)

SMALL = MixedSettings(hidden=32, blocks=1, components=4, batch_size=64, max_steps=150)

TABLES = {
    "one category": (COLOUR,),
    "one lattice": (COUNT,),
    "an unbounded lattice with holes": (PRICE, COLOUR),
    "atoms and holes": (RAIN, ANSWER),
    "a number last": (COUNT, COLOUR, RAIN),
    "a number first": (WIDTH, COUNT, ANSWER),
    "four columns": (COLOUR, RAIN, COUNT, ANSWER),
    "a lattice seen by a number": (PRICE, RAIN),
}


def split(n, held=10, seed=0):
    order = np.random.default_rng(seed).permutation(n)
    return [(order[n // held :], order[: n // held])]


def total(density, variables, points):
    model = density.models[0] if isinstance(density, MixedDensity) else density
    rows, measure = everything(variables, model.marginals, points)
    return float((np.exp(density.log_prob(rows)) * measure).sum())


@pytest.mark.parametrize("variables", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_probabilities_of_all_outcomes_sum_to_one(variables, gain):
    # Stressed conditionals are narrow: the line is cut finer for them. And they are far out: towards a
    # bound, some of their mass would lie nearer to it than any number of float64 does.
    if gain > 1:
        variables = tuple(FLOOD if v is RAIN else v for v in variables)
    found = total(stressed(variables, gain), variables, 3_000 if gain == 1.0 else 12_000)
    assert found == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("variables", [(COLOUR, RAIN, COUNT), (RAIN, WIDTH), (PRICE, ANSWER)])
def test_they_do_after_training_too(variables):
    rows = drawn(variables, 600)
    density, _ = MixedDensity.fit(variables, rows, split(600), budget=60.0, settings=SMALL)
    points = 900 if variables == (RAIN, WIDTH) else 4_000
    assert total(density, variables, points) == pytest.approx(1, abs=1e-3)


def planted(rows, seed=0):
    """Return a category, an integer that leans on it, and a hole that leans on both; and log p."""
    rng = np.random.default_rng(seed)
    category = rng.choice(3, rows, p=[0.5, 0.3, 0.2])
    rate = np.array([1.0, 4.0, 9.0])[category]
    count = np.minimum(rng.poisson(rate), 30)
    hole = rng.random(rows) < 1 / (1 + np.exp(-(count - 3 - category)))
    level = np.where(hole, 2, (count % 2))
    state = np.column_stack([category, np.where(count == 0, 1, 0), level])
    value = np.column_stack([np.full(rows, np.nan), count.astype(float), np.full(rows, np.nan)])
    p_hole = 1 / (1 + np.exp(-(count - 3 - category)))
    from scipy.stats import poisson

    log_p = np.log([0.5, 0.3, 0.2])[category] + poisson.logpmf(count, rate)
    log_p += np.where(hole, np.log(p_hole), np.log1p(-p_hole))
    variables = (
        Variable("category", 3),
        Variable("count", 1, numeric=True, lattice=1.0, low=0.0, high=30.0, atoms=(0.0,)),
        Variable("parity", 2, missing=True),
    )
    return variables, Encoded(state, value), log_p


def test_a_planted_dependence_is_learned_to_within_a_fiftieth_of_a_nat():
    variables, rows, log_p = planted(20_000)
    density, held = MixedDensity.fit(
        variables,
        rows,
        split(20_000),
        budget=300.0,
        settings=MixedSettings(hidden=64, blocks=1, max_steps=1_500),
    )
    index = split(20_000)[0][1]
    gap = log_p[index] - held
    assert gap.mean() < 0.02
    np.testing.assert_allclose(density.log_prob(rows.rows(index)), held)
    fresh, truth = planted(10_000, seed=1)[1:]
    assert (truth - density.log_prob(fresh)).mean() < 0.02


def test_where_there_is_nothing_to_learn_the_product_of_marginals_remains():
    rng = np.random.default_rng(0)
    variables = tuple(Variable(f"c{k}", 4) for k in range(6))
    state = rng.integers(0, 4, (120, 6))
    rows = Encoded(state, np.full((120, 6), np.nan))
    order = rng.permutation(120)
    folds = [(np.setdiff1d(order, part), part) for part in np.array_split(order, 5)]
    density, held = MixedDensity.fit(
        variables, rows, folds, budget=60.0, settings=replace(SMALL, max_steps=300)
    )
    assert held.shape == (120,)
    assert held.mean() > -6 * np.log(4) - 0.25
    test = Encoded(rng.integers(0, 4, (5000, 6)), np.full((5000, 6), np.nan))
    assert density.log_prob(test).mean() > -6 * np.log(4) - 0.2


def test_folds_are_held_out_each_in_its_turn():
    variables = (COLOUR, COUNT, RAIN)
    rows = drawn(variables, 300)
    order = np.random.default_rng(0).permutation(300)
    folds = [(np.setdiff1d(order, part), part) for part in np.array_split(order, 3)]
    lines = []
    density, held = MixedDensity.fit(
        variables, rows, folds, budget=60.0, settings=SMALL, report=lines.append
    )
    assert held.shape == (300,)
    assert np.isfinite(held).all()
    assert len(lines) == 4
    assert sum(density.weights) == pytest.approx(1)
    # Each fold's models give its held-out rows what was returned for them.
    count = len(density.models) // 3
    first = density.models[:count]
    share = np.array(density.weights[:count]) * 3
    own = np.logaddexp.reduce([m.log_prob(rows.rows(folds[0][1])) for m in first] + np.log(share)[:, None])
    np.testing.assert_allclose(own, held[: len(folds[0][1])])


def test_a_file_gives_back_the_same_density(tmp_path):
    variables = (COLOUR, COUNT, RAIN, PRICE, ANSWER)
    rows = drawn(variables, 300)
    density, _ = MixedDensity.fit(variables, rows, split(300), budget=60.0, settings=SMALL)
    density.save(tmp_path / "mixed.safetensors", extra={"table": "small"})
    loaded = diffeo.load(tmp_path / "mixed.safetensors")
    assert isinstance(loaded, MixedDensity)
    assert loaded.variables == variables
    assert np.array_equal(loaded.log_prob(rows), density.log_prob(rows))
    one, other = loaded.sample(50, seed=1), density.sample(50, seed=1)
    assert np.array_equal(one.state, other.state)
    assert np.array_equal(one.value, other.value, equal_nan=True)


def test_a_rows_density_is_its_own():
    variables = (COLOUR, COUNT, RAIN, PRICE)
    model, rows = stressed(variables, 2.0), drawn(variables, 40)
    whole = model.log_prob(rows)
    bad = Encoded(rows.state.copy(), rows.value.copy())
    bad.state[3, 0], bad.value[5, 1], bad.state[7, 2] = -1, 0.5, 99
    bad.value[9, 3], bad.state[9, 3] = np.nan, 0
    bad.value[11, 2], bad.state[11, 2] = -3.0, 0
    bad.value[13, 1], bad.state[13, 1] = np.inf, 0
    found = model.log_prob(bad)
    spoilt = np.zeros(40, bool)
    spoilt[[3, 5, 7, 9, 11, 13]] = rows.state[[3, 5, 7, 9, 11, 13]].tolist() is not None
    # A half is not on the lattice, where the row has a number there at all.
    spoilt[5] = rows.state[5, 1] == 0
    assert np.array_equal(found[~spoilt & (np.arange(40) != 5)], whole[~spoilt & (np.arange(40) != 5)])
    assert (found[spoilt] == -np.inf).all()
    assert np.array_equal(model.log_prob(rows.rows(slice(4, 5))), whole[4:5])


def test_bounds_belong_to_the_numbers():
    bounded = Variable("share", 0, numeric=True, low=0.0, high=1.0)
    rng = np.random.default_rng(0)
    share = np.column_stack([rng.beta(2, 3, 500), rng.beta(2, 3, 500)])
    share[0], share[1] = 0.0, 1.0
    rows = Encoded(np.zeros((500, 2), int), share)
    density, held = MixedDensity.fit((bounded, bounded), rows, split(500), budget=60.0, settings=SMALL)
    assert np.isfinite(held).all()
    assert np.isfinite(density.log_prob(rows)).all()
    outside = Encoded(np.zeros((2, 2), int), np.array([[-0.1, 0.5], [0.5, 1.1]]))
    assert (density.log_prob(outside) == -np.inf).all()
    sample = density.sample(500, seed=0).value
    assert ((sample >= 0) & (sample <= 1)).all()


def test_odd_tables_are_fitted_too():
    nothing = Variable("nothing", 0, missing=True)
    constant = Variable("constant", 1)
    fixed = Variable("fixed", 0, numeric=True, lattice=1.0, missing=True)
    for variables in [(constant,), (nothing, constant), (nothing, fixed, COLOUR), (fixed,)]:
        state = np.zeros((30, len(variables)), int)
        value = np.full((30, len(variables)), np.nan)
        for k, variable in enumerate(variables):
            if variable is fixed:
                value[:, k] = 7.0
            if variable is COLOUR:
                state[:, k] = np.arange(30) % 3
        density, held = MixedDensity.fit(
            variables, Encoded(state, value), split(30), budget=60.0, settings=SMALL
        )
        assert np.isfinite(held).all()
        drawn_rows = density.sample(20, seed=0)
        assert np.isfinite(density.log_prob(drawn_rows)).all()


def test_few_rows_are_no_error():
    rows = drawn((COLOUR, COUNT, RAIN), 12)
    for train, held in [(np.arange(1), np.arange(1, 3)), (np.arange(11), np.arange(11, 12))]:
        density, out = MixedDensity.fit(
            (COLOUR, COUNT, RAIN), rows, [(train, held)], budget=60.0, settings=SMALL
        )
        assert out.shape == held.shape
        assert np.isfinite(density.log_prob(rows)[train]).all()
    density, out = MixedDensity.fit(
        (COLOUR, COUNT, RAIN), rows, [(np.arange(12), np.arange(0))], budget=60.0
    )
    assert out.shape == (0,)


def test_a_column_of_many_categories():
    rng = np.random.default_rng(0)
    variables = (Variable("code", 1_000), Variable("kind", 2))
    code = (1_000 * rng.random(3000) ** 3).astype(int)
    rows = Encoded(np.column_stack([code, code < 50]).astype(int), np.full((3000, 2), np.nan))
    density, held = MixedDensity.fit(variables, rows, split(3000), budget=60.0, settings=SMALL)
    assert np.isfinite(held).all()
    every = Encoded(
        np.column_stack([np.repeat(np.arange(1_000), 2), np.tile([0, 1], 1_000)]),
        np.full((2_000, 2), np.nan),
    )
    assert np.exp(density.log_prob(every)).sum() == pytest.approx(1, abs=1e-6)


def test_what_is_wrong_is_said():
    rows = drawn((COLOUR, COUNT), 30)
    with pytest.raises(DataError, match="folds is empty"):
        MixedDensity.fit((COLOUR, COUNT), rows, [], budget=1.0)
    with pytest.raises(ConfigError, match="budget"):
        MixedDensity.fit((COLOUR, COUNT), rows, split(30), budget=0.0)
    with pytest.raises(DataError, match=r"folds\[0\] has no training rows"):
        MixedDensity.fit((COLOUR, COUNT), rows, [(np.arange(0), np.arange(3))], budget=1.0)
    with pytest.raises(ShapeError, match="columns"):
        MixedDensity.fit((COLOUR,), rows, split(30), budget=1.0)
    model = stressed((COLOUR, COUNT))
    with pytest.raises(ConfigError, match="weights"):
        MixedDensity([model], [0.5])
    with pytest.raises(ConfigError, match="models"):
        MixedDensity([], [])
    with pytest.raises(ConfigError, match="different variables"):
        MixedDensity([model, stressed((COLOUR,))], [0.5, 0.5])
    with pytest.raises(ConfigError, match="other columns"):
        MixedModel((COLOUR, RAIN), [None, None], model.rows)
    with pytest.raises(ShapeError, match="known"):
        MixedDensity([model], [1.0]).complete(rows, np.ones((30, 3), bool), seed=0)


def test_where_marginals_have_no_time_they_are_straight_and_the_density_is_still_one():
    variables = (COLOUR, RAIN, COUNT)
    rows = drawn(variables, 300)
    slow = fit_marginals(variables, rows, 0)
    quick = fit_marginals(variables, rows, 0, seconds=0.0)
    assert slow[0] is None
    assert quick[0] is None
    model = stressed(variables)
    density = MixedModel(variables, quick, model.rows).eval()
    density.inside.copy_(model.inside)
    assert total(density, variables, 4_000) == pytest.approx(1, abs=1e-3)


def test_outcomes_of_the_tests_themselves_are_all():
    assert len(outcomes(COUNT, None, 1)) == 7
    assert len(outcomes(ANSWER, None, 1)) == 3
