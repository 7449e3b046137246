"""The weights of a mixture of densities."""

import numpy as np
import pytest

from diffeo.errors import DataError
from diffeo.estimator.weights import mixed, mixture_weights, pruned


def log_probs(rows=400, members=3, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, members)) * 2


def mean(weights, table):
    return mixed(table, weights).mean()


def test_they_are_the_maximum():
    table = log_probs()
    weights = mixture_weights(table, prior=0.0)
    assert weights.sum() == pytest.approx(1)
    # At the maximum of a concave function no member gains: the mean of p_m / Σ w p is at most 1.
    gain = np.exp(table - mixed(table, weights)[:, None]).mean(0)
    assert gain[weights > 1e-3] == pytest.approx(1.0, abs=1e-3)
    assert (gain <= 1 + 1e-3).all()


def test_each_step_gains():
    table = log_probs(seed=1)
    reached = [mean(mixture_weights(table, prior=0.0, steps=k), table) for k in range(1, 40)]
    assert (np.diff(reached) >= -1e-12).all()


def test_the_prior_keeps_every_member():
    table = np.stack([np.zeros(100), np.full(100, -1e6), np.full(100, -np.inf)], 1)
    weights = mixture_weights(table)
    assert weights[1] == pytest.approx(0.5 / 101.5, rel=1e-3)
    assert (weights > 0).all()
    assert mean(weights, table) >= np.log(weights[0]) - 1e-12


def test_nan_and_rows_that_nobody_knows():
    table = log_probs()
    spoilt = np.concatenate([table, np.full((5, 3), np.nan), np.full((5, 3), -np.inf)])
    assert mixture_weights(spoilt) == pytest.approx(mixture_weights(table), abs=1e-6)
    assert mixed(np.full((1, 2), -np.inf), np.array([0.5, 0.5]))[0] == -np.inf
    assert np.isnan(mixed(np.array([[np.nan, 0.0]]), np.array([0.5, 0.5]))[0])
    assert mixture_weights(np.full((4, 2), np.nan)) == pytest.approx([0.5, 0.5])


def test_a_member_that_adds_nothing_is_left_out():
    table = log_probs()
    table = np.concatenate([table, table[:, :1] - 20], 1)
    kept = pruned(table, np.zeros(4, dtype=bool))
    assert kept.tolist() == [True, True, True, False]
    assert pruned(table, np.array([False, False, False, True]))[3]


def test_no_rows_is_an_error():
    with pytest.raises(DataError, match="log_probs has shape"):
        mixture_weights(np.zeros((0, 2)))
