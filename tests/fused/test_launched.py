"""Laws that Triton may compute on a GPU: when it is asked, and that nothing changes where it is not."""

from __future__ import annotations

import copy
import logging

import pytest
import torch

from diffeo.bijections import Coupling, Mask
from diffeo.bijections.fused import Launched, launched
from diffeo.bijections.fused.launched import on_launched, trusted
from diffeo.conditioners import MLP
from diffeo.flows import NSF
from diffeo.flows.accelerated import accelerated
from diffeo.kernels import triton
from diffeo.kernels.triton import calls
from diffeo.laws import Affine, Inverted, RationalQuadratic
from diffeo.training.blocks import block_of

LAW = RationalQuadratic(4)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def asked_anew():
    trusted.cache_clear()
    calls.available.cache_clear()
    yield
    trusted.cache_clear()
    calls.available.cache_clear()


def coupling(law=LAW):
    torch.manual_seed(0)
    layer = Coupling(law, MLP(2, 3, law.n_params, hidden=(8,)), Mask.halves(5))
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return layer


def test_rational_quadratic_splines_alone_have_kernels():
    assert triton.knows(LAW.compiled())
    assert triton.knows(Inverted(LAW).compiled())
    assert not triton.knows(Affine().compiled())
    assert not triton.knows(None)


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(calls.importlib.util, "find_spec", lambda name: object())
    assert calls.available()
    calls.available.cache_clear()
    monkeypatch.setenv("DIFFEO_TRITON", "0")
    assert not calls.available()


def test_without_a_gpu_or_without_triton_there_are_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not calls.available()
    calls.available.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(calls.importlib.util, "find_spec", lambda name: None)
    assert not calls.available()


def test_layers_on_the_processor_are_not_launched(monkeypatch):
    monkeypatch.setattr(triton, "available", lambda: True)
    assert launched(coupling()) is None
    flow = NSF(3, hidden=(8,)).double()  # the processor's kernels take float32
    assert accelerated(flow.bijection) is flow.bijection


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_the_kernels_do_not_take_is_the_laws_own(dtype):
    law, by = LAW, Launched(LAW)
    theta = torch.randn(20, law.n_params, dtype=dtype, requires_grad=True)
    u = torch.linspace(-4, 4, 20, dtype=dtype)
    assert not triton.takes(u, theta)
    for own, right in ((by.forward, law.forward), (by.inverse, law.inverse)):
        for one, other in zip(own(u, theta), right(u, theta), strict=True):
            assert torch.equal(one, other)
    # Derivatives of any order, by functorch too.
    (first,) = torch.autograd.grad(by.forward(u, theta)[0].square().sum(), theta, create_graph=True)
    assert torch.autograd.grad(first.sum(), theta)[0].any()
    assert torch.func.jacrev(lambda t: by.forward(u, t)[0])(theta.detach()).shape == (20, 20, law.n_params)
    assert (by.n_params, by.breadth, by.start, by.period) == (
        law.n_params,
        law.breadth,
        law.start,
        law.period,
    )
    assert by.slope_bounds() == law.slope_bounds()


def test_a_launched_layer_is_the_layer_with_another_law():
    layer = coupling()
    fast = on_launched(layer)
    assert layer.law is LAW
    assert isinstance(fast.law, Launched)
    assert all(p is q for p, q in zip(layer.parameters(), fast.parameters(), strict=True))
    x = torch.randn(6, 5)
    assert torch.equal(fast(x)[0], layer(x)[0])
    assert fast.reversal(inverse=True) == layer.reversal(inverse=True)
    fast.train()
    assert fast.conditioner is layer.conditioner
    assert block_of(fast) is fast  # torch.compile would not see the kernels
    assert block_of(layer) is not layer
    other = copy.deepcopy(fast)
    assert torch.equal(other(x)[0], layer(x)[0])


def test_kernels_that_fail_or_are_wrong_are_not_used(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "diffeo.kernels")

    def broken(compiled, u, theta, *, inverse):
        raise RuntimeError("no C compiler")

    def off(compiled, u, theta, *, inverse):
        value, log_slope = (LAW.inverse if inverse else LAW.forward)(u, theta)
        return value, log_slope * 1.001

    def right(compiled, u, theta, *, inverse):
        return (LAW.inverse if inverse else LAW.forward)(u, theta)

    for kernel, expected in ((broken, False), (off, False), (right, True)):
        monkeypatch.setattr(triton, "spline", kernel)
        trusted.cache_clear()
        with torch.inference_mode():  # where a flow may be asked for its density first
            assert trusted(LAW, CPU) is expected
    assert "no C compiler" in caplog.text
    assert "not as right" in caplog.text
