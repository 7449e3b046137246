"""NCSF: a density on the torus, continuous where it closes, that learns."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import diffeo
from diffeo.bijections import Wrap
from diffeo.distributions import VonMises
from diffeo.errors import ConfigError
from diffeo.flows import NCSF
from diffeo.testing import stress

STRUCTURES = ("autoregressive", "coupling")


def lively(features, structure, gain=2.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = NCSF(features, structure=structure, bins=5, hidden=(16,))
    return stress(flow, gain).double()


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("features", [1, 2])
def test_its_mass_is_one(features, structure):
    """By the midpoint rule, which on a circle is the best there is."""
    flow = lively(features, structure, gain=1.0)
    nodes = 200_000 if features == 1 else 1200
    line = (torch.arange(nodes, dtype=torch.float64) + 0.5) * (2 * math.pi / nodes) - math.pi
    grid = line[:, None] if features == 1 else torch.cartesian_prod(line, line)
    with torch.no_grad():
        density = torch.cat([flow.log_prob(part).exp() for part in grid.split(100_000)])
    assert density.mean().item() * (2 * math.pi) ** features == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("features", [1, 2, 3])
def test_the_density_is_continuous_where_the_circle_closes(features, structure):
    flow = lively(features, structure)
    generator = torch.Generator().manual_seed(1)
    x = math.pi * (2 * torch.rand(300, features, generator=generator, dtype=torch.float64) - 1)
    for k in range(features):
        low, high = x.clone(), x.clone()
        low[:, k], high[:, k] = -math.pi + 1e-10, math.pi - 1e-10
        torch.testing.assert_close(flow.log_prob(low), flow.log_prob(high), rtol=0, atol=1e-4)


def test_untrained_it_is_its_base():
    x = torch.tensor([[0.1, -3.0], [2.0, 3.1]])
    torch.testing.assert_close(NCSF(2).log_prob(x), torch.full((2,), -2 * math.log(2 * math.pi)))
    base = VonMises(2, concentration=2.0)
    flow = NCSF(2, transforms=3, base=base)  # two half turns between three layers: none
    torch.testing.assert_close(flow.log_prob(x), base.log_prob(x))


def test_outside_the_circle_is_no_density():
    x = torch.tensor([[0.0, 4.0], [-3.2, 0.0], [0.0, 0.0]])
    assert lively(2, "autoregressive").float().log_prob(x).isfinite().tolist() == [False, False, True]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_it_fits_a_wrapped_mixture(structure):
    """Two wrapped normals on the torus, one of them across both cuts."""
    generator = np.random.default_rng(0)
    centres = np.array([[math.pi, math.pi], [0.5, -1.0]])
    which = generator.integers(0, 2, 6000)
    raw = centres[which] + 0.5 * generator.standard_normal((6000, 2))
    x = torch.from_numpy((raw + math.pi) % (2 * math.pi) - math.pi).float()

    def density(at):
        turns = 2 * math.pi * np.arange(-2, 3)
        parts = [
            np.prod(stats.norm.pdf(at[:, :, None] + turns, centre[None, :, None], 0.5).sum(-1), -1)
            for centre in centres
        ]
        return np.mean(parts, 0)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = NCSF(2, structure=structure, transforms=2 if structure == "autoregressive" else 4)
    config = diffeo.TrainConfig(max_epochs=25, learning_rate=1e-2, batch_size=500)
    diffeo.fit(flow, x[:5000], config=config, progress=False)
    held = x[5000:]
    with torch.no_grad():
        gap = np.log(density(held.double().numpy())).mean() - flow.log_prob(held).mean().item()
    assert gap < 0.05, gap


def test_raw_degrees_are_read_by_wrap():
    flow = lively(2, "autoregressive").then(Wrap(low=0, high=360)).double()
    x = torch.tensor([[10.0, 350.0], [370.0, -10.0]], dtype=torch.float64)
    density = flow.log_prob(x)
    assert density[0].item() == pytest.approx(density[1].item(), abs=1e-9)
    draws = flow.sample((100,))
    assert ((draws >= 0) & (draws <= 360)).all()


def test_degrees_are_fitted_without_a_word_of_standardising():
    x = 350 + 20 * torch.rand(200, 1, generator=torch.Generator().manual_seed(0))
    flow = NCSF(1, transforms=1).then(Wrap(low=0, high=360))
    before = flow.log_prob(x).mean()
    diffeo.fit(flow, x, config=diffeo.TrainConfig(max_steps=100, learning_rate=2e-2), progress=False)
    assert flow.log_prob(x).mean() > before + 1


def test_verify_says_that_it_is_in_order():
    assert diffeo.verify(lively(1, "autoregressive", gain=1.0)).ok


def test_it_takes_context():
    flow = NCSF(2, 3, hidden=(8,))
    assert flow.log_prob(torch.zeros(5, 2), torch.randn(5, 3)).shape == (5,)
    assert flow.sample((4,), torch.randn(5, 3)).shape == (4, 5, 2)


def test_what_is_refused():
    with pytest.raises(ConfigError, match="structure"):
        NCSF(2, structure="ring")
    with pytest.raises(ConfigError, match="features"):
        NCSF(0)
