"""A row scored alone has the bits of the row scored in a batch, also where widths are odd."""

import pytest
import torch

from diffeo.bijections import Whiten
from diffeo.bijections.whiten import METHODS
from diffeo.conditioners import MLP, ResidualMLP
from diffeo.kernels.tiles import in_tiles
from diffeo.testing import stress


def in_any_batch(function, x):
    """Whether rows of ``function`` keep their bits alone, in reverse order, and in parts."""
    whole = function(x)
    alone = torch.cat([function(x[k : k + 1]) for k in range(len(x))])
    parts = torch.cat([function(x[:5]), function(x[5:])])
    return all(torch.equal(whole, other) for other in (alone, function(x.flip(0)).flip(0), parts))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("conditioner", [MLP, ResidualMLP])
@pytest.mark.parametrize("features", [1, 5, 21, 64])
def test_conditioners(features, conditioner, dtype):
    network = stress(conditioner(features, 7, n_params=2).to(dtype))
    x = torch.randn(50, features, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert in_any_batch(lambda rows: in_tiles(network, rows), x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("features", [1, 5, 21])
def test_whitening(features, method):
    x = torch.randn(50, features, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = Whiten(features, method).double().initialise(x.cumsum(-1))
    assert in_any_batch(lambda rows: layer.inverse(rows)[0], x)
    assert in_any_batch(lambda rows: layer(rows)[0], x)


def test_a_conditioner_in_training_sees_its_batch_as_it_is():
    sizes = []

    class Spy(MLP):
        def forward(self, x, context=None):
            sizes.append(len(x))
            return super().forward(x, context)

    from diffeo.bijections import Coupling, Mask
    from diffeo.laws import Additive

    layer = Coupling(Additive(), Spy(2, 2, n_params=1), Mask.halves(4))
    layer(torch.ones(5, 4))
    layer.eval()(torch.ones(5, 4))
    assert sizes == [5, 32]


def test_the_error_bar_of_no_rows():
    from diffeo.flows import RealNVP

    flow = RealNVP(3, context=2).eval()
    decoded = flow.decode(torch.zeros(0, 3), torch.zeros(0, 2), check=True, repair=True)
    assert decoded.value.shape == (0, 3)
    assert decoded.predicted_error.shape == decoded.trusted.shape == (0,)
