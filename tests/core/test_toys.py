"""Toys: their exact densities, their samples and their entropies belong together."""

import math

import pytest
import torch

from diffeo.errors import ConfigError
from diffeo.toys import TOYS


@pytest.mark.parametrize("name", TOYS)
def test_samples_have_the_stated_entropy(name):
    toy = TOYS[name]
    log_prob = toy.log_prob(toy.sample(1500, seed=1))
    assert log_prob.isfinite().all()
    spread = float(log_prob.std()) / math.sqrt(len(log_prob))
    assert -float(log_prob.mean()) == pytest.approx(toy.entropy, abs=4 * spread + 1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_samples_have_the_moments_of_the_density(name):
    # A grid whose lines are those of the checkerboard.
    toy = TOYS[name]
    side = (torch.arange(64, dtype=torch.float64) + 0.5) * 0.2 - 6.4
    grid = torch.cartesian_prod(side, side)
    weight = toy.log_prob(grid).exp() * 0.2**2
    assert float(weight.sum()) == pytest.approx(1.0, abs=0.02)
    x = toy.sample(20_000).double()
    mean, second = weight @ grid, (weight[:, None] * grid).T @ grid
    torch.testing.assert_close(x.mean(0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(x.T @ x / len(x), second, atol=0.15, rtol=0)


def test_the_seed_says_it_all():
    toy = TOYS["2spirals"]
    assert torch.equal(toy.sample(5, seed=3), toy.sample(5, seed=3))
    assert not torch.equal(toy.sample(5, seed=3), toy.sample(5, seed=4))
    assert toy.sample(0).shape == (0, 2)
    assert toy.log_prob(torch.zeros(0, 2)).shape == (0,)
    with pytest.raises(ConfigError, match="n=-1"):
        toy.sample(-1)


def test_eight_gaussians_in_closed_form():
    x = TOYS["8gaussians"].sample(20).double()
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    centres = 4 / 1.414 * torch.stack([angle.cos(), angle.sin()], -1)
    parts = torch.distributions.Independent(torch.distributions.Normal(centres, 0.5 / 1.414), 1)
    wanted = parts.log_prob(x[:, None]).logsumexp(-1) - math.log(8)
    torch.testing.assert_close(TOYS["8gaussians"].log_prob(x), wanted)
