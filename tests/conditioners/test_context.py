"""A part that reads no context ignores the one that it is handed; one that reads it names what is wrong."""

import pytest
import torch

from diffeo.bijections import Autoregressive, CircularShift, Coupling, Mask
from diffeo.conditioners import (
    MLP,
    CausalTransformer,
    MaskedMLP,
    MaskedResidualMLP,
    ResidualCNN,
    ResidualMLP,
    Transformer,
)
from diffeo.errors import ShapeError
from diffeo.laws import Affine
from diffeo.testing import stress

NETWORKS = {
    "MLP": lambda context: MLP(2, 1, 2, hidden=(8,), context=context),
    "ResidualMLP": lambda context: ResidualMLP(2, 1, 2, width=8, context=context),
    "Transformer": lambda context: Transformer(2, 1, 2, width=16, context=context),
    "MaskedMLP": lambda context: MaskedMLP(3, 2, hidden=(8,), context=context),
    "MaskedMLP, narrow": lambda context: MaskedMLP(3, 2, hidden=(1,), context=context),
    "MaskedMLP, linear": lambda context: MaskedMLP(3, 2, hidden=(), context=context),
    "MaskedResidualMLP": lambda context: MaskedResidualMLP(3, 2, width=8, context=context),
    "CausalTransformer": lambda context: CausalTransformer(3, 2, width=16, context=context),
    "ResidualCNN": lambda context: ResidualCNN((1, 1, 3), 2, width=8, context=context),
}


def layer_of(network):
    if network.event_shape is not None:
        return Coupling(Affine(), network, Mask.checkerboard(network.event_shape))
    if network.in_features == network.out_features:
        return Autoregressive(Affine(), network)
    return Coupling(Affine(), network, Mask.given(torch.tensor([True, True, False])))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_reads_none_ignores_it(name):
    network = stress(NETWORKS[name](0))
    x = torch.randn(5, *(network.event_shape or (network.in_features,)))
    assert torch.equal(network(x, torch.randn(5, 4)), network(x))


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_its_layer_is_not_moved_or_marked_by_it(name):
    layer = stress(layer_of(NETWORKS[name](0)))
    x = torch.randn(5, *layer.event_shape)
    given = torch.full((5, 4), torch.nan)
    for move in (layer.forward, layer.inverse):
        for found, wanted in zip(move(x, given), move(x), strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_that_reads_one_says_what_it_expects(name):
    layer = layer_of(NETWORKS[name](3))
    x = torch.zeros(5, *layer.event_shape)
    for move in (layer.forward, layer.inverse):
        with pytest.raises(ShapeError, match=r"context is missing; expected .* \(\.\.\., 3\)"):
            move(x)
        with pytest.raises(ShapeError, match=r"context has shape \(5, 2\)"):
            move(x, torch.zeros(5, 2))


@torch.no_grad()
def test_a_shift_of_angles_that_reads_none_is_not_marked():
    shift, angle = CircularShift(2, conditioner=MLP(0, 2, 1)), torch.randn(5, 2)
    assert torch.equal(shift(angle, torch.full((5, 1), torch.nan))[0], shift(angle)[0])
