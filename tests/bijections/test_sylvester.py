"""The Sylvester layer against its formula, and as the planar layer that it generalises."""

import numpy as np
import pytest
import torch

from diffeo.bijections import Planar, Sylvester
from diffeo.errors import ConfigError
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def rows(count, features, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, features, generator=generator, dtype=torch.float64)


@torch.no_grad()
@pytest.mark.parametrize("units", [1, 3, 5])
def test_it_is_its_formula(units):
    layer, x = stress(Sylvester(5, units).double(), 2.0), rows(4, 5)
    q = np.eye(5)
    for v in layer.reflections.numpy():
        q = (np.eye(5) - 2 * np.outer(v, v) / (v @ v)) @ q
    q = q[:, :units]
    np.testing.assert_allclose(q.T @ q, np.eye(units), atol=1e-14)
    outer, inner = np.triu(layer.outer.numpy()), np.triu(layer.inner.numpy())
    for m in range(units):
        a = outer[m, m] * inner[m, m]
        outer[m, m] *= ((a + np.sqrt(a * a + 4 * 0.81)) / 2 - 0.9) / a
    z, log_det = layer.inverse(x)
    for row, moved, claimed in zip(x.numpy(), z.numpy(), log_det.numpy(), strict=True):
        height = np.tanh(inner @ q.T @ row + layer.b.numpy())
        np.testing.assert_allclose(moved, row + q @ outer @ height, rtol=1e-12, atol=1e-13)
        jacobian = np.eye(5) + q @ outer @ np.diag(1 - height**2) @ inner @ q.T
        np.testing.assert_allclose(claimed, np.linalg.slogdet(jacobian)[1], rtol=1e-11, atol=1e-13)


@torch.no_grad()
def test_one_unit_is_a_planar_layer():
    layer, planar = stress(Sylvester(4, 1).double()), Planar(4).double()
    v = layer.reflections[0]
    direction = -2 * v * v[0] / (v @ v)
    direction[0] += 1
    planar.w.copy_(direction * layer.inner[0, 0])
    planar.u.copy_(direction * layer.outer[0, 0])
    planar.b.copy_(layer.b)
    x = rows(5, 4)
    for one, other in zip((*layer.inverse(x), *layer(x)), (*planar.inverse(x), *planar(x)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_every_root_is_found():
    layer = stress(Sylvester(4).double(), 4.0)
    layer.outer.sub_(10 * torch.eye(4) * layer.inner.diagonal().sign())
    z = 10 * rows(500, 4)
    x, log_det, info = layer.forward_with_info(z)
    assert info.converged.all()
    assert (info.iterations > 0).all()
    back, undone = layer.inverse(x)
    torch.testing.assert_close(back, z, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det, -undone, rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_a_reflection_of_zero_is_none():
    layer = Sylvester(3, 2)
    layer.reflections.zero_()
    layer.outer.copy_(torch.eye(2))
    x = torch.ones(1, 3)
    z, _ = layer.inverse(x)
    assert z[0, 2] == 1
    assert (z[0, :2] != 1).all()


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="units=4 must be at most features=3"):
        Sylvester(3, 4)
    with pytest.raises(ConfigError, match="units=0 must be a whole number of at least 1, or None"):
        Sylvester(3, 0)
