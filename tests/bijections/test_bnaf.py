"""The block neural autoregressive flow against an explicit loop over its blocks."""

import numpy as np
import pytest
import torch

from diffeo.bijections import BNAF
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


def block_weight(layer, i, features):
    """Return the lines of block i of W, as lists of blocks."""
    raw = layer.raw.detach().numpy()
    outgoing, incoming = raw.shape[0] // features, raw.shape[1] // features
    lines = []
    for k in range(i * outgoing, (i + 1) * outgoing):
        line = np.zeros(raw.shape[1])
        for j in range(i + 1):
            part = slice(j * incoming, (j + 1) * incoming)
            line[part] = np.exp(8 * np.tanh(raw[k, part] / 8)) if j == i else raw[k, part]
        norm = np.exp(4 * np.tanh(layer.raw_log_norm[k, 0].item() / 4))
        lines.append(line / np.linalg.norm(line) * norm)
    return np.array(lines)


def test_it_is_its_formula():
    layer, x = stress(BNAF(3, hidden=(4, 2)).double(), 2.0), rows(3, 3)
    z, _ = layer.inverse(x)
    share = 0.99 / (1 + np.exp(-30 * np.tanh(layer.gate.detach().numpy() / 30)))
    for row, moved in zip(x.numpy(), z.detach().numpy(), strict=True):
        h = row
        for k, part in enumerate(layer.layers):
            h = np.tanh(h) if k else h
            weight = np.concatenate([block_weight(part, i, 3) for i in range(3)])
            h = weight @ h + part.bias.detach().numpy()
        np.testing.assert_allclose(moved, (1 - share) * row + share * h, rtol=1e-12)


@pytest.mark.parametrize("gain", [1.0, 16.0])
def test_its_jacobian_is_triangular_and_its_slopes_bounded_below(gain):
    layer, x = stress(BNAF(4, hidden=(3,)).double(), gain), rows(6, 4)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer.inverse(row)[0]))(x)
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.tril(-1) != 0).any()
    slopes = jacobian.diagonal(dim1=-2, dim2=-1)
    assert (slopes >= 0.01 - 1e-15).all()
    torch.testing.assert_close(slopes.log().sum(-1), layer.inverse(x)[1], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_it_is_onto():
    layer = stress(BNAF(2).double(), 4.0)
    layer.gate.fill_(20.0)
    size = 10.0 ** torch.arange(-3, 9, dtype=torch.float64)
    z = torch.stack([torch.cat([-size, size]), torch.cat([size, size])], -1)
    x, _, info = layer.forward_with_info(z)
    assert info.converged.all()
    torch.testing.assert_close(layer.inverse(x)[0], z, rtol=1e-11, atol=1e-11)


@torch.no_grad()
def test_an_untrained_layer_is_near_the_identity():
    x = rows(100, 3)
    assert ((BNAF(3).double().inverse(x)[0] - x).abs() <= 0.2 * (1 + x.abs())).all()


@torch.no_grad()
def test_the_context_moves_it():
    layer, x = stress(BNAF(2, context=1).double()), rows(3, 2)
    given = rows(3, 1, seed=3)
    z, _ = layer.inverse(x, given)
    assert (z != layer.inverse(x, given + 1)[0]).all()
    torch.testing.assert_close(layer(z, given)[0], x, rtol=1e-11, atol=1e-11)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match=r"hidden=\(\) makes a triangular matrix"):
        BNAF(2, hidden=())
    with pytest.raises(ConfigError, match="hidden"):
        BNAF(2, hidden=(0,))
