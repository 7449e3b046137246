"""The contractive residual layer: its bound, its Jacobian, its two log-determinants, its search."""

import pytest
import torch

from diffeo.bijections import Contractive
from diffeo.errors import ConfigError
from diffeo.kernels.lipschitz import stretch_bound
from diffeo.kernels.solve import contracted
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def rows(count, features, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 7), (64, 64)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_bound_is_just_above_the_largest_singular_value(shape, scale):
    weight = scale * rows(*shape)
    ratio = stretch_bound(weight) / torch.linalg.matrix_norm(weight, 2)
    assert 1 - 1e-12 <= ratio <= 1.04


def test_the_bound_of_equal_singular_values_and_of_zero():
    turned = torch.linalg.qr(rows(50, 50))[0]
    assert 1 - 1e-12 <= stretch_bound(turned) <= 50 ** (1 / 128) + 1e-12
    zero = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    bound = stretch_bound(zero)
    assert 0 <= bound <= 1e-12
    assert torch.autograd.grad(bound, zero)[0].isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("activation", ["lipswish", "tanh"])
def test_what_is_added_contracts_whatever_the_weights_are(activation):
    layer = stress(Contractive(3, (16, 16), lipschitz=0.8, activation=activation).double(), 50.0)
    x, other = rows(2000, 3), rows(2000, 3, seed=2)
    other = x + (other - x) * torch.logspace(-5, 1, 2000, dtype=torch.float64)[:, None]
    added, near = layer.inverse(x)[0] - x, layer.inverse(other)[0] - other
    ratio = (added - near).norm(dim=-1) / (x - other).norm(dim=-1)
    assert 0 < ratio.max() <= 0.8


@torch.no_grad()
def test_a_linear_layer_reaches_its_bound():
    layer = stress(Contractive(3, (), lipschitz=0.8).double(), 50.0)
    z, _ = layer.inverse(torch.eye(3, dtype=torch.float64))
    added = z - torch.eye(3) - layer.inverse(torch.zeros(3, dtype=torch.float64))[0]
    assert 0.8 / 1.02 <= torch.linalg.matrix_norm(added, 2) <= 0.8 * (1 + 1e-12)


def test_both_log_determinants_come_of_autograds_jacobian():
    exact = stress(Contractive(4, (12,), context=2).double())
    x, given = rows(5, 4), rows(5, 2, seed=3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row, c: exact.inverse(row, c)[0]))(x, given)
    log_det = torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(exact.inverse(x, given)[1], log_det, rtol=1e-12, atol=1e-12)
    # In evaluation: the series along one vector of signs, whose terms are those of the Jacobian.
    estimate = Contractive(4, (12,), context=2, log_det="unbiased", terms=60).double().eval()
    estimate.load_state_dict(exact.state_dict())
    signs = estimate.get_buffer("_signs")[0].double()
    values, vectors = torch.linalg.eig(jacobian - torch.eye(4))
    signs = signs.to(vectors.dtype)
    along = torch.linalg.solve(vectors, signs)
    wanted = ((signs @ vectors) * values.log1p() * along).sum(-1).real
    torch.testing.assert_close(estimate.inverse(x, given)[1], wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(estimate.inverse(x, given)[1], estimate.inverse(x, given)[1])


def test_the_estimate_is_unbiased_in_training():
    exact = stress(Contractive(2, (8,), lipschitz=0.7).double())
    estimate = Contractive(2, (8,), lipschitz=0.7, log_det="unbiased", terms=1).double()
    estimate.load_state_dict(exact.state_dict())
    x = rows(1, 2)
    with torch.no_grad():
        found = torch.stack([estimate.train().inverse(x.expand(32, 2))[1].mean() for _ in range(1500)])
    error = found.std() / len(found) ** 0.5
    off = (found.mean() - exact.inverse(x)[1].detach()).abs().item()
    assert off <= 4 * error
    assert error <= 0.02


@torch.no_grad()
def test_the_search_says_what_it_reached():
    layer, z = stress(Contractive(3, (8,)).double(), 16.0), rows(40, 3)
    x, _, info = layer.forward_with_info(z)
    assert info.converged.all()
    assert info.residual.max() <= 1e-13
    torch.testing.assert_close(layer.inverse(x)[0], z, rtol=1e-13, atol=1e-13)
    hasty = Contractive(3, (8,), max_iter=1).double().eval()
    hasty.load_state_dict(layer.state_dict())
    x, log_det, info = hasty.forward_with_info(z)
    assert not info.converged.any()
    assert x.isnan().all()
    assert log_det.isnan().all()


def test_a_row_of_a_contraction_stops_when_it_has_arrived():
    found = contracted(lambda x: x / 2, torch.tensor([[0.0], [1024.0]]), 1e-3, 100)
    assert found.value[0] == 0
    assert found.converged.all()
    assert found.iterations.tolist()[0] == 1
    assert found.iterations[1] > 10
    assert not contracted(lambda x: x / 2, torch.ones(1, 1), 1e-3, 2).converged


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match=r"lipschitz=1\.0 must be a finite number above 0 and below 1"):
        Contractive(2, lipschitz=1.0)
    with pytest.raises(ConfigError, match="log_det='trace' is not known"):
        Contractive(2, log_det="trace")
    with pytest.raises(ConfigError, match="terms=0 must be"):
        Contractive(2, log_det="unbiased", terms=0)
    with pytest.raises(ConfigError, match="activation='relu' is not known"):
        Contractive(2, activation="relu")
