"""Planar and radial layers against their formulas, computed another way."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from diffeo import flows
from diffeo.bijections import Planar, Radial
from diffeo.diagnostics import checks
from diffeo.errors import ConfigError, ShapeError
from diffeo.testing import stress


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def drawn(part, gain=1.0, seed=0):
    return stress(part.double(), gain, seed)


def rows(count, features, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(count, features, generator=generator, dtype=torch.float64)


@torch.no_grad()
def test_the_planar_layer_is_its_formula():
    layer, x = drawn(Planar(3)), rows(6, 3)
    w, u, b = (p.numpy() for p in (layer.w, layer.u, layer.b))
    a = float(w @ u)
    kept = (a + np.sqrt(a * a + 4 * 0.81)) / 2 - 0.9
    z, log_det = layer.inverse(x)
    for row, moved, claimed in zip(x.numpy(), z.numpy(), log_det.numpy(), strict=True):
        height = np.tanh(w @ row + b[0])
        np.testing.assert_allclose(moved, row + u * kept / a * height, rtol=1e-13)
        jacobian = np.eye(3) + np.outer(u * kept / a, w) * (1 - height**2)
        np.testing.assert_allclose(claimed, np.linalg.slogdet(jacobian)[1], rtol=1e-12, atol=1e-14)


@torch.no_grad()
@pytest.mark.parametrize("strength", [-1e3, -3.0, 3.0, 1e3])
def test_a_planar_layer_has_an_inverse_whatever_its_parameters_are(strength):
    layer = drawn(Planar(2))
    layer.w.mul_(5.0)
    layer.u.copy_(strength * layer.w)
    z = torch.linspace(-30, 30, 2001, dtype=torch.float64)[:, None] * layer.w / layer.w.norm()
    x, log_det, info = layer.forward_with_info(z)
    _, undone = layer.inverse(x)
    assert info.converged.all()
    assert info.residual.max() <= 1e-12 * max(1.0, abs(strength) * 100)
    figure = checks.round_trip_against_prediction(layer, z)
    assert figure.ok, figure
    assert figure.tested == len(z)
    torch.testing.assert_close(log_det, -undone, rtol=1e-6, atol=1e-6)
    assert log_det.max() <= -np.log(0.1) + 1e-12


@torch.no_grad()
def test_the_radial_layer_is_its_formula_and_its_inverse_a_root():
    layer, x = drawn(Radial(3), seed=2), rows(6, 3)
    layer.raw_beta.fill_(-4.0)
    centre, alpha = layer.centre.numpy(), float(np.exp(5 * np.tanh(layer.raw_log_alpha.item() / 5)))
    beta = alpha * ((-4 + np.sqrt(16 + 4 * 0.81)) / 2 - 0.9)
    z, log_det = layer.inverse(x)
    back, undone = layer(z)
    for k in range(len(x)):
        away = x[k].numpy() - centre
        r = np.linalg.norm(away)
        h = 1 / (alpha + r)
        np.testing.assert_allclose(z[k], x[k].numpy() + beta * h * away, rtol=1e-12)
        slope = 1 + beta * h - beta * h**2 * r
        np.testing.assert_allclose(log_det[k], 2 * np.log1p(beta * h) + np.log(slope), rtol=1e-12)
        rho = np.linalg.norm(z[k].numpy() - centre)
        found = brentq(lambda t, rho=rho: t + beta * t / (alpha + t) - rho, 0, 100, xtol=1e-14)
        np.testing.assert_allclose(np.linalg.norm(back[k].numpy() - centre), found, rtol=1e-11)
    torch.testing.assert_close(undone, -log_det, rtol=1e-12, atol=1e-12)


def test_the_radial_layer_is_smooth_at_its_centre():
    layer = drawn(Radial(2))
    with torch.no_grad():
        layer.raw_log_alpha.fill_(0.0)
    for method in (layer.inverse, layer):
        at = layer.centre.detach().clone()[None].requires_grad_()
        moved, log_det = method(at)
        slopes = torch.stack([torch.autograd.grad(v, at, retain_graph=True)[0][0] for v in moved[0]])
        torch.testing.assert_close(slopes, slopes[0, 0] * torch.eye(2, dtype=torch.float64))
        torch.testing.assert_close(2 * slopes[0, 0].log(), log_det[0])


def test_radial_layers_start_apart_at_the_identity_and_learn_apart():
    """Two that start alike would be one layer, applied twice."""
    flow = flows.Radial(2, transforms=6).double()
    x = rows(400, 2)
    z, log_det = flow.bijection.inverse(x)
    assert torch.equal(z, x)
    assert torch.equal(log_det, torch.zeros_like(log_det))
    ring = x / x.norm(dim=-1, keepdim=True) + 0.1 * rows(400, 2, seed=2)
    optimiser = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        (-flow.log_prob(ring).mean()).backward()
        optimiser.step()
    layers = [layer for layer in flow.bijection.modules() if isinstance(layer, Radial)]
    learnt = torch.stack(
        [torch.cat([layer.centre, layer.raw_log_alpha, layer.raw_beta]) for layer in layers]
    )
    assert torch.pdist(learnt.detach()).min() > 0.1
    assert len(learnt) == 6


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_hostile_rows_stay_what_they_are(kind):
    layer = drawn(kind(2))
    x = torch.tensor([[0.3, 1.0], [np.inf, 1.0], [np.nan, 1.0], [1e200, 1.0]], dtype=torch.float64)
    for moved, log_det in (layer.inverse(x), layer(x)):
        assert moved[0].isfinite().all()
        assert moved[1, 0] == np.inf
        assert moved[2].isnan().all()
        assert moved[3, 0] == 1e200
        assert log_det.isnan().tolist() == [False, False, True, False]


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_a_context_moves_the_layer_row_by_row(kind):
    layer, x = drawn(kind(2, context=3)), rows(4, 2)
    given = rows(4, 3, seed=5)
    z, _ = layer.inverse(x, given)
    for k in range(4):
        torch.testing.assert_close(layer.inverse(x[k], given[k])[0], z[k], rtol=0, atol=0)
    assert not torch.equal(z, layer.inverse(x, given.flip(0))[0])
    given[1, 0] = np.nan
    assert layer.inverse(x, given)[0].isnan().all(-1).tolist() == [False, True, False, False]


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_wrong_arguments_are_named(kind):
    with pytest.raises(ConfigError, match="features=0 must be a whole number of at least 1"):
        kind(0)
    with pytest.raises(ConfigError, match="context=-1 must be"):
        kind(2, context=-1)
    with pytest.raises(ShapeError, match=r"expected \(\.\.\., 2\)"):
        kind(2).inverse(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match="context is missing"):
        kind(2, context=1)(torch.zeros(4, 2))
