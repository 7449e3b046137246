"""A small model with hostile names and values, and its report, made once."""

import numpy as np
import polars as pl
import pytest

from diffeo import FlowDensity
from diffeo.report import examine
from diffeo.toys import TOYS

HOSTILE = "</script><script>window.hacked = 1</script>\"'&<img src=x onerror=hacked=2>"


def table(rows=300, seed=0, shift=0.0):
    draws = np.random.default_rng(seed)
    a = draws.normal(size=rows)
    return pl.DataFrame(
        {
            HOSTILE: draws.choice([HOSTILE, "b", "c"], size=rows),
            "a": a + shift,
            "b<i>": a**2 + draws.normal(size=rows),
            "hole": [None if u < 0.2 else v for u, v in zip(draws.random(rows), a, strict=True)],
        }
    )


@pytest.fixture(scope="session")
def fitted():
    return FlowDensity("gaussian", max_steps=3, random_state=0).fit(table())


@pytest.fixture(scope="session")
def examined(fitted):
    return examine(
        fitted, table(200, seed=1), group=HOSTILE, reference=table(200, seed=2, shift=3.0), name=HOSTILE
    )


@pytest.fixture(scope="session")
def numbers():
    """A flow of numbers, whose report has pairs and a moulding to play."""
    x = TOYS["moons"].sample(400, seed=0).double().numpy()
    frame = pl.DataFrame(dict(zip(["a", HOSTILE], x.T, strict=True)))
    model = FlowDensity("spline-coupling", max_steps=40, random_state=0).fit(frame)
    return examine(model, frame, name="numbers")
