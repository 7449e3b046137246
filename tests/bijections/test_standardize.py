"""Standardize with the range of the training rows: a spline's box fitted to the data."""

import pytest
import torch

import diffeo
from diffeo.bijections import Standardize
from diffeo.errors import ConfigError
from diffeo.flows import NSF


def ranged(x, bound=3.0):
    return Standardize(x.shape[-1], "range", bound=bound).initialise(x)


@pytest.mark.parametrize("bound", [0.5, 3.0, 10.0])
def test_the_range_becomes_the_box_less_a_margin(bound):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1000, 3, generator=generator) * torch.tensor([1.0, 1e6, 1e-6]) + torch.tensor(
        [0, 1e6, 5]
    )
    z, _ = ranged(x.double(), bound).double().inverse(x.double())
    torch.testing.assert_close(z.amin(0), torch.full((3,), -bound / 1.05).double(), rtol=1e-2, atol=0)
    torch.testing.assert_close(z.amax(0), torch.full((3,), bound / 1.05).double(), rtol=1e-2, atol=0)


def test_its_determinant_is_that_of_its_scale():
    x = torch.tensor([[0.0], [10.0]])
    layer = ranged(x, bound=2.0)
    value, log_det = layer(torch.tensor([[0.0], [1.0]]))
    torch.testing.assert_close(value, torch.tensor([[5.0], [5.0 + 1.05 * 5 / 2]]))
    torch.testing.assert_close(log_det, torch.full((2,), 1.05 * 5 / 2).log())


@pytest.mark.parametrize("method", ["range", "robust"])
@pytest.mark.parametrize("stray", [1e4, 1e9, 1e30])
def test_stray_values_do_not_stretch_it(stray, method):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(10_000, 1, generator=generator, dtype=torch.float64)
    spoilt = torch.cat([x, torch.tensor([[stray], [-stray]], dtype=torch.float64)])
    clean, found = (Standardize(1, method).initialise(rows).scale for rows in (x, spoilt))
    torch.testing.assert_close(found, clean, rtol=1e-3, atol=0)


def test_long_tails_and_ties_are_kept():
    generator = torch.Generator().manual_seed(0)
    tied = torch.cat([torch.zeros(900, 1), 1 + torch.rand(100, 1, generator=generator)])
    z, _ = ranged(tied).inverse(tied)
    assert z.abs().amax() == pytest.approx(3 / 1.05, rel=1e-5)
    skewed = torch.randn(1000, 1, generator=generator).exp()
    z, _ = ranged(skewed).inverse(skewed)
    assert (z.abs() <= 3).double().mean() > 0.98


def test_a_constant_column_and_a_single_row_have_scale_one():
    for rows in (torch.full((5, 1), 7.0), torch.tensor([[7.0]])):
        layer = ranged(rows, bound=1.05)
        assert layer.loc.item() == 7.0
        assert layer.scale.item() == pytest.approx(1.0)


def test_a_spline_in_the_fitted_box_follows_a_bounded_density():
    """A density with edges, where the unit scale of a fixed box would leave half of the bins empty."""
    generator = torch.Generator().manual_seed(0)
    x = 100 * torch.rand(4000, 1, generator=generator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = NSF(1, transforms=1, bins=16).then(Standardize(1, "range"))
    diffeo.fit(flow, x, config=diffeo.TrainConfig(max_steps=400, learning_rate=2e-2), progress=False)
    inside = torch.linspace(5, 95, 50)[:, None]
    with torch.no_grad():
        off = flow.log_prob(inside) - torch.tensor(1 / 100).log()
    assert off.abs().mean() < 0.1


def test_what_is_refused():
    with pytest.raises(ConfigError, match="bound"):
        Standardize(1, "range", bound=0.0)
    with pytest.raises(ConfigError, match=r"method.*range"):
        Standardize(1, "minmax")
