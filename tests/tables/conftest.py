"""A small real-looking table, and a model fitted to it once."""

import numpy as np
import polars as pl
import pytest

from diffeo.tables import Architecture, fit_table
from diffeo.training import TrainConfig


def measurements(rows=400, seed=0):
    """Return lengths in metres, masses, and times in seconds since 1970: three very different scales."""
    rng = np.random.default_rng(seed)
    length = rng.gamma(4.0, 250.0, rows)
    mass = 1e-3 * length * np.exp(0.2 * rng.normal(size=rows))
    time = 1.7e9 + 3600 * rng.normal(size=rows)
    return pl.DataFrame({"length": length, "mass": mass, "time": time})


def quick_fit(frame, **options):
    """Return a model of ``frame`` after a few steps."""
    config = TrainConfig(max_epochs=3, device="cpu")
    return fit_table(frame, architecture=Architecture(couplings=4, hidden=(16,)), config=config, **options)


@pytest.fixture(scope="session")
def frame():
    return measurements()


@pytest.fixture(scope="session")
def model(frame):
    return quick_fit(frame)[0]
