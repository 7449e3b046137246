"""Draws follow the density; completed rows, weighted, follow the exact conditionals."""

import numpy as np
import pytest

from diffeo.tables.mixed import MixedDensity
from diffeo.tables.variable import Encoded, Variable
from tests.tables.mixed_material import (
    ANSWER,
    COLOUR,
    COUNT,
    PRICE,
    RAIN,
    WIDTH,
    drawn,
    everything,
    stressed,
)

#: No number is continuous here: every outcome can be counted.
DISCRETE = (COLOUR, COUNT, ANSWER)


def density_of(variables, gain=2.0):
    one, other = stressed(variables, gain, seed=0), stressed(variables, gain, seed=1)
    return MixedDensity([one, other], [0.7, 0.3])


def keys(rows):
    return [tuple(row) for row in np.where(np.isnan(rows.value), rows.state, 100 + 8 * rows.value).tolist()]


def exact(density):
    rows, _ = everything(density.variables, density.models[0].marginals, 1)
    return dict(zip(keys(rows), np.exp(density.log_prob(rows)), strict=True))


@pytest.mark.parametrize("variables", [DISCRETE, (PRICE, COLOUR), (COUNT, COUNT)])
@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_outcomes_come_as_often_as_they_are_likely(variables, gain):
    density, n = density_of(variables, gain), 40_000
    likely = exact(density)
    sample = density.sample(n, seed=3)
    names, counts = np.unique(np.array(keys(sample)), axis=0, return_counts=True)
    found = dict(zip(map(tuple, names.tolist()), counts, strict=True))
    assert sum(likely[key] for key in found) == pytest.approx(1, abs=0.01)
    expected = {key: n * p for key, p in likely.items() if n * p > 5}
    chi = sum((found.get(key, 0) - e) ** 2 / e for key, e in expected.items())
    assert chi < len(expected) + 4 * (2 * len(expected)) ** 0.5 + 4


@pytest.mark.parametrize("variables", [(COLOUR, RAIN, WIDTH), (WIDTH, COUNT), (RAIN, ANSWER)])
def test_draws_of_numbers_have_the_densitys_entropy_and_distribution(variables):
    density = density_of(variables, 1.0)
    rows, measure = everything(variables, density.models[0].marginals, 700)
    log_p = density.log_prob(rows)
    p = np.exp(log_p) * measure
    sample = density.sample(30_000, seed=1)
    found = density.log_prob(sample)
    entropy = -(p * np.where(p > 0, log_p, 0.0)).sum()
    assert abs(found.mean() + entropy) < 5 * found.std() / 30_000**0.5 + 0.01
    for column, variable in enumerate(variables):
        if variable.numeric and not variable.lattice:
            for end in np.nanquantile(sample.value[:, column], [0.1, 0.5, 0.9]):
                here = (rows.state[:, column] == 0) & (rows.value[:, column] <= end)
                drawn_here = (sample.state[:, column] == 0) & (sample.value[:, column] <= end)
                mass = p[here].sum()
                assert abs(drawn_here.mean() - mass) < 5 * (mass * (1 - mass) / 30_000) ** 0.5 + 0.005


def test_a_number_that_is_an_atoms_is_encoded_as_the_atom():
    sample = density_of((COUNT, COLOUR)).sample(5000, seed=0)
    number = sample.state[:, 0] == 0
    assert not np.isin(sample.value[number, 0], COUNT.atoms).any()
    assert set(sample.value[:, 0]) <= set(range(7))
    assert (sample.value[sample.state[:, 0] == 2, 0] == 3.0).all()


def test_the_same_seed_gives_the_same_rows():
    density = density_of((COLOUR, RAIN, COUNT))
    one, other, third = (density.sample(100, seed=k) for k in (5, 5, 6))
    assert np.array_equal(one.state, other.state)
    assert np.array_equal(one.value, other.value, equal_nan=True)
    assert not np.array_equal(one.state, third.state)
    assert len(density.sample(0, seed=0)) == 0


def test_known_cells_stay_and_unknown_ones_are_never_missing():
    density, rows = density_of((COLOUR, RAIN, COUNT, ANSWER)), drawn((COLOUR, RAIN, COUNT, ANSWER), 500)
    known = np.random.default_rng(0).random((500, 4)) < 0.5
    hidden = Encoded(np.where(known, rows.state, -1), np.where(known, rows.value, np.nan))
    filled, weight = density.complete(hidden, known, seed=0)
    assert np.array_equal(filled.state[known], rows.state[known])
    assert np.array_equal(filled.value[known], rows.value[known], equal_nan=True)
    for column, variable in enumerate(density.variables):
        if variable.missing:
            assert (filled.state[~known[:, column], column] < variable.states - 1).all()
    assert np.isfinite(weight).all()
    assert np.isfinite(density.log_prob(filled)).all()
    everything_known = density.complete(rows, np.ones((500, 4), bool), seed=0)[1]
    # The weight of a row that is wholly known is its density.
    assert np.abs(density.log_prob(rows) - everything_known).max() < 1e-9


@pytest.mark.parametrize("unknown", [(0,), (1,), (2,), (0, 2), (0, 1)])
def test_completed_rows_weighted_follow_the_exact_conditional(unknown):
    density, n = density_of(DISCRETE, 1.5), 30_000
    row = drawn(DISCRETE, 50).rows([7])
    known = np.ones(3, bool)
    known[list(unknown)] = False
    rows = Encoded(np.repeat(row.state, n, 0), np.repeat(row.value, n, 0))
    filled, weight = density.complete(rows, np.tile(known, (n, 1)), seed=2)
    # Exactly: all outcomes that agree with the known cells, in which no unknown cell is missing.
    every, _ = everything(DISCRETE, density.models[0].marginals, 1)
    keep = (every.state[:, known] == row.state[:, known]).all(1)
    keep &= np.isclose(every.value[:, known], row.value[:, known], equal_nan=True).all(1)
    for column in unknown:
        if DISCRETE[column].missing:
            keep &= every.state[:, column] < DISCRETE[column].states - 1
    every = every.rows(keep)
    p = np.exp(density.log_prob(every))
    w = np.exp(weight)
    # The mean weight estimates the probability of what is known.
    assert abs(w.mean() - p.sum()) < 5 * w.std() / n**0.5 + 1e-9
    drawn_keys = np.array([hash(key) for key in keys(filled)])
    for key, wanted in zip(keys(every), p / p.sum(), strict=True):
        share = w[drawn_keys == hash(key)].sum() / w.sum()
        error = (wanted * (1 - wanted) * (w**2).mean() / w.mean() ** 2 / n) ** 0.5
        assert abs(share - wanted) < 5 * error + 2e-3


def test_where_all_unknown_columns_come_last_draws_are_of_the_conditional_itself():
    # One model: the weights of draws of one row are then all alike.
    density = MixedDensity([stressed((COLOUR, COUNT, RAIN))], [1.0])
    row = drawn((COLOUR, COUNT, RAIN), 20).rows([3])
    rows = Encoded(np.repeat(row.state, 200, 0), np.repeat(row.value, 200, 0))
    _, weight = density.complete(rows, np.tile([True, True, False], (200, 1)), seed=0)
    assert np.ptp(weight) < 1e-9


def test_a_column_that_is_always_missing_is_completed_as_missing():
    nothing = Variable("nothing", 0, missing=True)
    density = MixedDensity([stressed((COLOUR, nothing))], [1.0])
    rows = drawn((COLOUR, nothing), 5)
    filled, weight = density.complete(rows, np.tile([True, False], (5, 1)), seed=0)
    assert (filled.state[:, 1] == 0).all()
    assert np.isfinite(weight).all()
