"""Squeezing and factoring out: torch's own order, nothing lost, and what passes by untouched."""

import pytest
import torch

from diffeo.bijections import (
    ActNorm,
    Affine,
    Chain,
    Coupling,
    Inverse,
    InvertibleConv1x1,
    Mask,
    Scale,
    Softplus,
    Split,
    Squeeze,
)
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow
from diffeo.laws import Affine as AffineLaw


@pytest.mark.parametrize(
    ("shape", "factor"), [((1, 2, 2), 2), ((3, 4, 6), 2), ((2, 9, 3), 3), ((2, 3, 5), 1)]
)
def test_squeezing_is_pixel_unshuffle(shape, factor):
    squeeze = Squeeze(shape, factor)
    x = torch.arange(2.0 * torch.Size(shape).numel()).reshape(2, *shape)
    z, log_det = squeeze.inverse(x)
    assert z[0].shape == squeeze.noise_shape
    assert torch.equal(z, torch.nn.functional.pixel_unshuffle(x, factor))
    assert torch.equal(squeeze(z)[0], x)
    assert log_det.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_batch_is_squeezed(batch):
    squeeze = Squeeze((1, 4, 2))
    z, log_det = squeeze.inverse(torch.ones(*batch, 1, 4, 2))
    assert z.shape == (*batch, 4, 2, 1)
    assert log_det.shape == batch


def test_each_side_has_its_shape():
    with pytest.raises(ShapeError, match=r"z has shape \(1, 4, 4\); expected \(\.\.\., 4, 2, 2\)"):
        Squeeze((1, 4, 4))(torch.ones(1, 4, 4))
    with pytest.raises(ShapeError, match=r"x has shape \(4, 2, 2\); expected \(\.\.\., 1, 4, 4\)"):
        Squeeze((1, 4, 4)).inverse(torch.ones(4, 2, 2))


def test_what_is_split_off_passes_by():
    part = Split(4, 3, Softplus())
    z = torch.tensor([[0.0, 1.0, -2.0, 5.0], [1.0, 2.0, 3.0, -7.0]])
    x, log_det = part(z)
    inner, inner_log_det = Softplus()(z[:, :3])
    assert torch.equal(x, torch.cat([inner, z[:, 3:]], -1))
    assert torch.equal(log_det, inner_log_det)
    back, back_log_det = part.inverse(x)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(back_log_det, -log_det)


def test_all_may_go_through():
    z = torch.ones(2, 3)
    assert torch.equal(Split(3, 3, Softplus())(z)[0], Softplus()(z)[0])


def test_the_bijection_is_shown_the_data_that_reach_it():
    x = 3 + 2 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    part = Split(3, 2, ActNorm(2)).initialise(x)
    z, _ = part.inverse(x)
    torch.testing.assert_close(z[:, :2].mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    assert torch.equal(z[:, 2], x[:, 2])


def test_a_context_gives_all_elements_its_batch():
    inner = Coupling(AffineLaw(), MLP(1, 1, n_params=2, context=2), Mask.halves(2))
    x, log_det = Split(3, 2, inner)(torch.ones(3), torch.randn(5, 2))
    assert x.shape == (5, 3)
    assert log_det.shape == (5,)


def test_a_poisoned_half_leaves_the_other_half():
    x, _ = Split(3, 1, Softplus())(torch.tensor([[torch.nan, 1.0, 2.0]]))
    assert x[0, 0].isnan()
    assert x[0, 1:].tolist() == [1.0, 2.0]


def test_two_scales_are_a_flow_of_images_and_factor_half_of_them_out():
    shape, squeezed, half = (1, 4, 4), (4, 2, 2), (2, 2, 2)
    squeeze = Squeeze(shape)
    deep = Affine(half)
    with torch.no_grad():
        deep.shift.fill_(100.0)
    body = Chain(Inverse(squeeze), Split(squeezed, 2, deep), InvertibleConv1x1(squeezed), squeeze)
    flow = Flow(StandardNormal(shape), Split(shape, 1, body))
    x = flow.sample((8,), generator=torch.Generator().manual_seed(0))
    channels = torch.nn.functional.pixel_unshuffle(x, 2)
    assert bool((channels[:, :2] > 50).all())
    assert bool((channels[:, 2:].abs() < 50).all())
    assert flow.log_prob(x).shape == (8,)
    torch.testing.assert_close(flow.decode(flow.encode(x)), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Squeeze((1, 3, 4)), "factor=2 does not divide the height 3 and the width 4"),
        (lambda: Squeeze((1, 4, 4), 0), "factor=0 must be a whole number of at least 1"),
        (lambda: Squeeze((4, 4)), r"shape=\(4, 4\) must be \(channels, height, width\)"),
        (
            lambda: Split(3, 4, Softplus()),
            r"at=4 is more than there are in shape=\(3,\); expected at most 3",
        ),
        (lambda: Split(3, 0, Softplus()), "at=0 must be a whole number of at least 1"),
        (lambda: Split(3, 2, Scale(3)), r"of shape \(3,\); expected \(2,\), the first 2 of shape=\(3,\)"),
        (lambda: Split(3, 2, AffineLaw()), "bijection is a Affine; expected a diffeo Bijection"),
        (lambda: Split((2, 1, 1), 1, Softplus()), r"bijection has events of 1 dimension\(s\)"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
