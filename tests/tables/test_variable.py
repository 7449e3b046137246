"""Variables say what a density needs to know, and refuse what contradicts itself."""

import numpy as np
import pytest

from diffeo.errors import ConfigError, ShapeError
from diffeo.registry import from_spec, to_spec
from diffeo.tables import Encoded, Variable


@pytest.mark.parametrize(
    "variable",
    [
        Variable("a"),
        Variable("a", states=3, low=0.0),
        Variable("a", lattice=True, low=0, high=12),
        Variable("a", lattice=True, low=3, high=3),
        Variable("a", states=10_000, numeric=False),
    ],
)
def test_a_variable_is_plain_json(variable):
    assert from_spec(to_spec(variable)) == variable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 3}, "name=3"),
        ({"states": 0}, "states=0"),
        ({"states": 2.0}, "states=2.0"),
        ({"numeric": 1}, "numeric=1"),
        ({"lattice": None}, "lattice=None"),
        ({"numeric": False, "low": 0.0}, "is no range"),
        ({"low": float("nan")}, "low=nan"),
        ({"high": float("inf")}, "high=inf"),
        ({"low": 1.0, "high": 1.0}, "low below high"),
        ({"lattice": True, "low": 0.5}, "whole numbers"),
        ({"lattice": True, "low": 2, "high": 1}, "low below high"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Variable(**{"name": "a", **arguments})


def test_encoded_rows_have_one_shape():
    with pytest.raises(ShapeError, match=r"\(2, 1\) and value \(1, 2\)"):
        Encoded(np.zeros((2, 1)), np.zeros((1, 2)))
    rows = Encoded(np.zeros((4, 2), np.int32), np.zeros((4, 2), np.float32))
    assert rows.state.dtype == np.int64
    assert rows.value.dtype == np.float64
    assert len(rows[np.array([True, False, True, False])]) == 2
