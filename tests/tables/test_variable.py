"""Variables and encoded rows: states are counted, and nonsense is refused."""

import dataclasses
import json

import numpy as np
import pytest

from diffeo.errors import ConfigError, ShapeError
from diffeo.tables.variable import Encoded, Variable, check_encoded, numbers_of


@pytest.mark.parametrize(
    ("variable", "states", "plain"),
    [
        (Variable("a", 0, numeric=True), 1, True),
        (Variable("a", 0, numeric=True, missing=True), 2, False),
        (Variable("a", 0, numeric=True, lattice=1.0), 1, False),
        (Variable("a", 2, numeric=True, atoms=(0.0, 1.0)), 3, False),
        (Variable("a", 5, ordered=True), 5, False),
        (Variable("a", 0, missing=True), 1, False),
    ],
)
def test_states_are_counted(variable, states, plain):
    assert (variable.states, variable.plain) == (states, plain)
    assert Variable(**json.loads(json.dumps(dataclasses.asdict(variable)))) == variable


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"levels": 0}, "no state"),
        ({"levels": -1}, "levels"),
        ({"levels": 1, "numeric": True}, "an atom for each level"),
        ({"levels": 2, "lattice": 1.0}, "not numeric"),
        ({"levels": 0, "numeric": True, "lattice": float("inf")}, "lattice"),
        ({"levels": 0, "numeric": True, "low": 1.0, "high": 1.0}, "below high"),
        ({"levels": 1, "numeric": True, "atoms": (float("nan"),)}, "atoms"),
        ({"levels": 0, "numeric": 1}, "numeric"),
    ],
)
def test_nonsense_is_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        Variable("a", **arguments)


def test_a_name_is_text():
    with pytest.raises(ConfigError, match="name"):
        Variable(3, 1)


def test_rows_and_columns_are_selected_and_joined():
    state = np.arange(12).reshape(4, 3)
    rows = Encoded(state, state / 2)
    assert len(rows) == 4
    assert np.array_equal(rows.rows(slice(1, 3)).state, state[1:3])
    assert np.array_equal(rows.columns([2, 0]).value, state[:, [2, 0]] / 2)
    assert np.array_equal(Encoded.join([rows.columns([0]), rows.columns([1, 2])]).state, state)
    assert np.array_equal(Encoded.stack([rows.rows([0]), rows.rows([1, 2, 3])]).state, state)
    with pytest.raises(ShapeError, match="one shape"):
        Encoded(state, state[:2])
    with pytest.raises(ShapeError, match="expected 1"):
        check_encoded([Variable("a", 1)], rows)


def test_numbers_come_from_values_and_atoms():
    variable = Variable("a", 2, numeric=True, atoms=(0.0, 9.0), missing=True)
    found = numbers_of(variable, np.array([0, 1, 2, 3, -1]), np.array([5.0, np.nan, np.nan, np.nan, 7.0]))
    assert np.array_equal(found, [5.0, 0.0, 9.0, np.nan, np.nan], equal_nan=True)
    assert np.isnan(numbers_of(Variable("a", 2), np.array([0, 1]), np.zeros(2))).all()
