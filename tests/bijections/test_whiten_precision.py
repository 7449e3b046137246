"""A whitening that was fitted in float32 is exact when it is computed in float64."""

import pytest
import torch

from diffeo.bijections import Whiten
from diffeo.bijections.whiten import METHODS


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("features", [1, 3, 50])
def test_float32_factors_are_inverted_exactly_in_float64(method, features):
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(features, features, generator=generator)
    layer = Whiten(features, method).initialise(torch.randn(500, features, generator=generator) @ mix)
    layer.double()
    x = torch.randn(20, features, generator=generator, dtype=torch.float64)
    z, log_det = layer.inverse(x)
    again, other = layer(z)
    assert (again - x).abs().max() < 1e-12
    assert torch.equal(log_det, -other)
    jacobian = torch.func.jacrev(lambda value: layer(value)[0])(z[0])
    assert abs(torch.linalg.slogdet(jacobian)[1] - other[0]) < 1e-12


def test_zca_is_the_symmetric_root_of_the_covariance():
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    x = torch.randn(400, 4, generator=generator, dtype=torch.float64) @ mix
    layer = Whiten(4, "zca").double().initialise(x)
    root = torch.func.jacrev(lambda z: layer(z)[0])(torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(root, root.T, atol=1e-10)
    assert torch.allclose(root @ root, torch.cov(x.T, correction=0), atol=1e-10)
    z, log_det = layer.inverse(x)
    assert torch.allclose(torch.cov(z.T, correction=0), torch.eye(4, dtype=torch.float64), atol=1e-9)
    assert abs(log_det[0] + torch.linalg.slogdet(root)[1]) < 1e-10
