"""Tables whose laws are known, and models of them, fitted once."""

import numpy as np
import pandas as pd
import pytest

import diffeo


def people(rows: int, seed: int) -> pd.DataFrame:
    """Height by sex, weight by height, children by themselves."""
    draws = np.random.default_rng(seed)
    sex = draws.choice(["f", "m"], rows)
    height = np.where(sex == "f", 165.0, 178.0) + draws.normal(0, 6, rows)
    weight = height - 100 + draws.normal(0, 8, rows)
    return pd.DataFrame({"sex": sex, "height": height, "weight": weight, "kids": draws.poisson(1.5, rows)})


@pytest.fixture(scope="session")
def model():
    table = people(2_000, seed=0)
    return diffeo.FlowDensity("gaussian", max_steps=120, random_state=0).fit(table)
