"""Drift: quiet where nothing moved, and right about what did."""

import json

import numpy as np
import pandas as pd
import pytest

import diffeo
from diffeo.understanding import drift
from tests.understanding.conftest import people


def test_nothing_is_found_where_nothing_moved(model):
    found = [
        drift(model, people(150, 100 + k), people(150, 200 + k), permutations=199, random_state=k)
        for k in range(6)
    ]
    assert sum(one.drifted for one in found) <= 2  # at most one in twenty: 3 of 6 has p < 0.003
    assert all("no drift" in one.in_words() for one in found if not one.drifted)


def test_a_column_that_moved_by_itself_is_told_from_one_that_moved_with_others(model):
    now = people(800, seed=11)
    tall = now["height"] > 168  # weight moves with height, given which it is as it was
    found = drift(model, people(800, seed=12), now[tall].reset_index(drop=True))
    assert {"height", "weight"} <= set(found.moved)
    by_name = {one.column: one for one in found.columns}
    assert by_name["weight"].given_adjusted > 0.05
    assert by_name["height"].given_adjusted <= 0.05
    assert found.ratio_adjusted <= 0.05
    assert found.effective < 0.9
    heavier = people(800, seed=13)
    heavier["weight"] += 6
    found = drift(model, people(800, seed=14), heavier)
    assert found.moved == ("weight",)
    assert "weight" in found.in_words()
    assert found.log_ratio.shape == (800,)
    json.dumps(found.to_json(), allow_nan=False)


def test_states_move_and_cells_that_cannot_be_are_counted(model):
    now = people(300, seed=15)
    now["sex"] = np.where(np.random.default_rng(0).random(300) < 0.9, "f", "m")
    now.loc[0, "sex"] = "x"
    found = drift(model, people(300, seed=16), now)
    assert "sex" in found.moved
    assert found.impossible == pytest.approx(1 / 300)
    assert np.isnan(found.log_ratio[0])
    assert "cannot be" in found.in_words()


def test_what_cannot_be_compared_is_refused(model):
    with pytest.raises(diffeo.errors.DataError):
        drift(model, people(100, 0), pd.DataFrame(people(3, 0)))
    assert diffeo.diagnostics.drift is drift
