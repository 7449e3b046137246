"""A change of units changes log p by the logarithm of the factor, and nothing else."""

import math

import pytest
import torch

from diffeo.bijections import Standardize
from diffeo.training import TrainConfig, fit


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    z = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    return torch.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0].square()], -1)


@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e3, 1e30])
def test_fits_in_other_units_agree(small, table, factor):
    config = TrainConfig(max_steps=100, batch_size=64)
    shift = 3 * factor
    densities = []
    for x in (table, table * factor + shift):
        flow = small().then(Standardize(2))
        fit(flow, x, config=config)
        densities.append(flow.log_prob(x).detach())
    expected = densities[0] - 2 * math.log(factor)  # one log a for each of two columns
    assert float((densities[1] - expected).abs().max()) <= 1e-3
