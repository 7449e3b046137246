"""The convolutional network in couplings of images: what it sees, and that a row is summed alike."""

import pytest
import torch

from diffeo.bijections import Coupling, Mask
from diffeo.conditioners import MLP, ResidualCNN
from diffeo.conditioners.convolutional import Conv
from diffeo.diagnostics import checks
from diffeo.errors import ConfigError
from diffeo.laws import Additive, Affine
from diffeo.registry import from_spec, to_spec
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


def coupling(shape, mask="checkerboard", flip=False, **settings):
    network = ResidualCNN(shape, 2, **{"width": 8, "blocks": 1, **settings})
    return stress(Coupling(Affine(), network, getattr(Mask, mask)(shape, flip=flip)))


@pytest.mark.parametrize("mask", ["checkerboard", "channelwise"])
@pytest.mark.parametrize("flip", [False, True])
def test_theta_is_that_of_the_masked_image_at_the_moved_elements(mask, flip):
    layer = coupling((2, 3, 4), mask, flip)
    z = torch.randn(5, 2, 3, 4)
    passed = layer.mask.tensor()
    theta = layer.conditioner(torch.where(passed, z, 0.0))
    moved, log_slope = Affine().forward(z, theta)
    x, log_det = layer(z)
    torch.testing.assert_close(x, torch.where(passed, z, moved))
    torch.testing.assert_close(log_det, torch.where(passed, 0.0, log_slope).sum((1, 2, 3)))


def test_it_never_sees_what_is_moved():
    layer = coupling((2, 4, 4))
    moved = ~layer.mask.tensor()
    z = torch.randn(3, 2, 4, 4)
    changed = torch.where(moved, torch.randn_like(z), z)
    torch.testing.assert_close(layer(z)[1], layer(changed)[1])


def test_a_block_sees_so_many_pixels_further():
    for kernel, blocks, reach in ((3, 0, 1), (3, 1, 3), (5, 1, 6), (1, 2, 0)):
        net = stress(ResidualCNN((1, 15, 15), 1, width=8, blocks=blocks, kernel=kernel, activation="tanh"))
        slope = torch.autograd.functional.jacobian(
            lambda at, net=net: net(at)[0, 7, 7, 0], torch.randn(1, 15, 15)
        )
        seen = (slope[0] != 0).nonzero()
        assert seen.amin() == 7 - reach
        assert seen.amax() == 7 + reach


def test_every_pixel_sees_the_context():
    net = stress(ResidualCNN((2, 3, 3), 2, width=8, blocks=1, context=3))
    slope = torch.autograd.functional.jacobian(lambda c: net(torch.zeros(2, 3, 3), c), torch.randn(3))
    assert (slope != 0).any(-1).all()


def test_weight_norm_gives_each_filter_its_length():
    conv = Conv(3, 4, 3, weight_norm=True)
    plain = torch.nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(2, 3, 5, 5)
    plain.load_state_dict({"weight": conv.weight, "bias": conv.bias})
    torch.testing.assert_close(conv(x), plain(x))  # at the start it changes nothing
    with torch.no_grad():
        conv.norm.fill_(2.0)
        conv.weight.mul_(7.0)
        size = torch.linalg.vector_norm(plain.weight, dim=(1, 2, 3), keepdim=True)
        plain.weight.copy_(2.0 * plain.weight / size)
    torch.testing.assert_close(conv(x), plain(x))


def test_a_filter_of_zeros_has_a_derivative():
    conv = Conv(2, 2, 3, weight_norm=True)
    with torch.no_grad():
        conv.weight.zero_()
    conv(torch.ones(1, 2, 3, 3)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in conv.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 7), (3, 3, 3), (3, 8, 8), (12, 4, 4)])
@pytest.mark.parametrize(("width", "kernel"), [(2, 3), (6, 5), (32, 3)])
def test_a_rows_bits_do_not_depend_on_its_batch(dtype, shape, width, kernel):
    for mask in ("checkerboard", "channelwise"):
        layer = coupling(shape, mask, width=width, kernel=kernel, context=2, weight_norm=kernel == 5)
        layer = layer.to(dtype)
        x, context = torch.randn(35, *shape, dtype=dtype), torch.randn(35, 2, dtype=dtype)
        figure = checks.batch_invariance(layer, x, context, limit=0.0)
        assert figure.ok, figure


def test_it_begins_as_the_identity_and_is_recorded():
    layer = Coupling(Additive(), ResidualCNN([1, 4, 4], 1, width=4), Mask.checkerboard((1, 4, 4)))
    z = torch.randn(3, 1, 4, 4)
    assert torch.equal(layer(z)[0], z)
    again = from_spec(to_spec(layer))
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again(z)[0], z)


def test_a_coupling_of_vectors_may_be_given_the_whole_event_too():
    class Whole(MLP):
        def __init__(self, features, n_params):
            super().__init__(features, features, n_params, hidden=(8,))
            self.event_shape = torch.Size([features])

    layer = stress(Coupling(Affine(), Whole(5, 2), [True, False, True, True, False]))
    x = torch.randn(6, 5)
    for inverse in (False, True):
        assert checks.log_det_matches_autograd(layer, x.double(), inverse=inverse).ok
        assert checks.round_trip_against_prediction(layer, x, inverse=inverse).ok


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ResidualCNN(3, 2), "shape=3 must be"),
        (lambda: ResidualCNN((3, 4), 2), r"shape=\(3, 4\)"),
        (lambda: ResidualCNN((3, 0, 4), 2), "shape=0"),
        (lambda: ResidualCNN((3, 4, 4), 0), "n_params=0"),
        (lambda: ResidualCNN((3, 4, 4), 2, width=5), "width=5 must be even"),
        (lambda: ResidualCNN((3, 4, 4), 2, kernel=2), "kernel=2 must be odd"),
        (lambda: ResidualCNN((3, 4, 4), 2, blocks=-1), "blocks=-1"),
        (lambda: ResidualCNN((3, 4, 4), 2, weight_norm="yes"), "weight_norm='yes'"),
        (
            lambda: Coupling(Affine(), ResidualCNN((3, 4, 4), 2), Mask.checkerboard((3, 4, 2))),
            r"event_shape=\(3, 4, 4\); expected \(3, 4, 2\), which is mask.shape",
        ),
        (
            lambda: Coupling(Affine(), ResidualCNN((3, 4, 4), 1), Mask.checkerboard((3, 4, 4))),
            "n_params=1; expected 2, which is law.n_params",
        ),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
