"""MAF beside nflows 0.14, with its weights: densities, noise and samples."""

import pytest
import torch
from nflows.flows import MaskedAutoregressiveFlow
from nflows.transforms import MaskedAffineAutoregressiveTransform

from diffeo.bijections import Autoregressive, Chain, Permutation
from diffeo.conditioners import MaskedMLP, OrderedConditioner
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.laws import Affine, Inverted

from .copying import Converted, copied, shaken, unbounded


def affine():
    """(softplus(a) + 1/1000) x + b."""

    def convert(theta):
        scale = torch.nn.functional.softplus(theta[..., 0]) + 1e-3
        return torch.stack([unbounded(scale.log(), 20.0), theta[..., 1]], -1)

    return Inverted(Converted(Affine(20.0), 2, convert))


class Theirs(OrderedConditioner):
    """The MADE of nflows as a conditioner of ours."""

    def __init__(self, made, features, context):
        super().__init__()
        self._order(features, 2, context, "ascending", None)
        self.made = made

    def forward(self, x, context=None):
        flat = self.made(x.reshape(-1, x.shape[-1]), context)
        return flat.reshape(*x.shape, 2)


def feedforward(made, features):
    """Return our MaskedMLP with the weights of a MADE without residual blocks."""
    linear = [made.initial_layer, *(block.linear for block in made.blocks), made.final_layer]
    return copied([(layer.weight, layer.bias, layer.mask) for layer in linear], features, 2)


def flow_of(peer, features, network, context=0):
    """Return our flow with the layers of theirs, which are listed from data to noise."""
    layers = []
    for transform in peer._transform._transforms:
        if hasattr(transform, "_permutation"):
            layers.append(Permutation.reverse(features))
        else:
            layers.append(Autoregressive(affine(), network(transform.autoregressive_net, features)))
    return Flow(StandardNormal(features), Chain(*layers[::-1])).double().eval()


def rows(features, count=40):
    generator = torch.Generator().manual_seed(1)
    return 2 * torch.randn(count, features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("network", [feedforward, lambda made, features: Theirs(made, features, 0)])
@pytest.mark.parametrize("features", [2, 3, 5])
@torch.no_grad()
def test_with_the_same_weights_it_is_the_flow_of_nflows(features, network):
    """Weights copied into our network; and, for residual blocks, ours around their network.

    Their residual network has no activation before its last layer and ours has one, so that its weights
    have no place in ours.
    """
    residual = network is not feedforward
    peer = MaskedAutoregressiveFlow(features, 12, 3, 2, use_residual_blocks=residual)
    peer = shaken(peer)
    own = flow_of(peer, features, network)
    if not residual:
        assert isinstance(own.bijection.bijections[0].conditioner, MaskedMLP)
    x = rows(features)
    z, log_det = peer._transform(x)
    torch.testing.assert_close(own.encode(x), z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.log_prob(x), peer.log_prob(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.bijection.inverse(x)[1], log_det, rtol=1e-9, atol=1e-9)
    wanted, wanted_log_det = peer._transform.inverse(z)
    found, found_log_det = own.bijection(z)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found_log_det, wanted_log_det, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_with_context_around_their_network():
    """Their context enters after the first layer, ours beside the features."""
    peer = shaken(MaskedAffineAutoregressiveTransform(3, 12, context_features=2))
    own = Autoregressive(affine(), Theirs(peer.autoregressive_net, 3, 2)).double().eval()
    x, c = rows(3), rows(2)
    for found, wanted in zip(own.inverse(x, c), peer(x, c), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    for found, wanted in zip(own(x, c), peer.inverse(x, c), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
