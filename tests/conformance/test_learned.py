"""What trained flows keep: named flows come near their rows, and never below the entropy."""

from types import SimpleNamespace

import pytest
import torch

from diffeo.testing import CASES
from diffeo.testing.learned import above_entropy, far_and_near, nats_above_entropy
from diffeo.toys import TOYS

#: Flows of vectors, for the points they are trained on lie in a plane; those of images have tests/images.
NAMED = [
    name
    for name, case in CASES.items()
    if case.part == "flow" and case.domain == "real" and 2 in case.sizes
]


@pytest.mark.parametrize("name", NAMED)
def test_rows_come_back_or_are_flagged(name):
    broken = [figure for figure in far_and_near(CASES[name], steps=60, rows=128) if not figure.ok]
    assert not broken


@pytest.mark.parametrize("name", NAMED)
def test_no_likelihood_is_too_good(name):
    figure = above_entropy(CASES[name], "moons", steps=60, rows=2000)
    assert figure.ok, figure


@pytest.mark.parametrize(
    ("shift", "ok"), [(0.0, True), (-0.05, True), (0.05, False), (float("nan"), False)]
)
def test_a_likelihood_that_is_too_good_is_caught(shift, ok):
    def log_prob(x):
        # A density of its own noise, as a flow's is: 0.1 nats a row.
        noise = 0.1 * torch.randn(len(x), generator=torch.Generator().manual_seed(len(x))).double()
        return TOYS["moons"].log_prob(x) - noise + noise.mean() + shift

    figure = nats_above_entropy(SimpleNamespace(log_prob=log_prob, dtype=torch.float64), "moons", 2000)
    assert figure.ok is ok
    assert figure.tested == 1
