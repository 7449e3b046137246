"""A whitening that was fitted in float32 is exact when it is computed in float64."""

import pytest
import torch

from diffeo.bijections import Whiten


@pytest.mark.parametrize("method", ["pca", "cholesky"])
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
