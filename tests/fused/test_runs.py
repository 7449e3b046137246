"""Layers of different widths one after another in one call: they are what each layer alone makes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffeo.bijections import Autoregressive, Chain, Coupling, Mask
from diffeo.bijections.fused import Fused
from diffeo.conditioners import MLP, MaskedMLP, ResidualMLP
from diffeo.flows.accelerated import accelerated
from diffeo.kernels.native import library
from diffeo.laws import Additive, Affine, RationalQuadratic

from .layers import FEATURES, HALF, fused_of, stirred

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")

#: Several tiles, and several parts of the rows that gradients of weights are summed over.
ROWS = 1100


def mixed(context=0):
    """Return layers of every law, that are wide and narrow in turn."""
    halves, turned = Mask.alternating(FEATURES), Mask.alternating(FEATURES, flip=True)
    spline = RationalQuadratic(5)
    layers = [
        Coupling(Affine(), MLP(4, 3, 2, hidden=(70, 9), context=context), halves),
        Autoregressive(spline, MaskedMLP(FEATURES, spline.n_params, hidden=(40,), context=context)),
        Coupling(spline, ResidualMLP(3, 4, spline.n_params, width=20, context=context), turned),
        Coupling(Additive(), MLP(4, 3, 1, hidden=(5,), activation="silu", context=context), halves),
        Coupling(Affine(), MLP(3, 4, 2, hidden=(33, 33), activation="gelu", context=context), turned),
    ]
    return stirred(Chain(*layers), gain=0.15)


def given(context=0):
    draws = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(ROWS, FEATURES, generator=draws)
    return x, torch.randn(ROWS, context, generator=draws) if context else None


def all_of(fused, x, context):
    """Return value, log-determinant and gradients, of one fixed sum of them."""
    x = x.detach().clone().requires_grad_()
    wanted = [x] if context is None else [x, context.detach().clone().requires_grad_()]
    value, log_det = fused.inverse(*wanted)
    parameters = [p for step in fused.steps for p in step.parameters]
    total = (value * value).sum() + log_det.sum()
    return [value, log_det, *torch.autograd.grad(total, [*wanted, *parameters])]


def run_of(chain, *, half=False):
    fused = accelerated(chain, half=half, training=True).bijections[0]
    assert isinstance(fused, Fused)
    assert len(fused.steps) == len(chain.bijections)
    return fused


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=HALF)])
@pytest.mark.parametrize("context", [0, 2])
def test_a_run_is_its_layers_one_by_one_in_every_bit(context, half):
    chain = mixed(context)
    x, c = given(context)
    found = all_of(run_of(chain, half=half), x, c)
    singles = [fused_of(layer, half=half) for layer in chain.bijections]

    class One(torch.nn.Module):
        """The same layers, each a run of its own."""

        steps = tuple(single.steps[0] for single in singles)

        def inverse(self, x, context=None):
            log_dets = []
            for single in reversed(singles):
                x, log_det = single.inverse(x, context)
                log_dets.append(log_det)
            return x, torch.stack(log_dets)

    wanted = all_of(One(), x, c)
    wanted[1] = sum(wanted[1])
    assert torch.allclose(found[1], wanted[1], atol=1e-5)  # its sum is rounded in another order
    assert len(found) == len(wanted) > 20
    for k, (own, other) in enumerate(zip(found, wanted, strict=True)):
        if k == 3 and context:
            assert torch.allclose(own, other, rtol=1e-5, atol=1e-5)  # and so is the context's gradient
        elif k != 1:
            assert torch.equal(own, other)


@pytest.mark.parametrize("context", [0, 2])
def test_a_run_has_the_derivatives_of_torch_in_float64(context):
    chain = mixed(context)
    x, c = given(context)
    fused = run_of(chain)
    found = all_of(fused, x, c)

    order = [id(p) for step in fused.steps for p in step.parameters]
    exact = mixed(context).double()
    place = {id(p): q for p, q in zip(chain.parameters(), exact.parameters(), strict=True)}

    class Exact(torch.nn.Module):
        class Layer:
            parameters = tuple(place[number] for number in order)

        steps = (Layer,)
        inverse = staticmethod(exact.inverse)

    wanted = all_of(Exact(), x.double(), c if c is None else c.double())
    for own, other in zip(found, wanted, strict=True):
        assert (own - other).abs().max() <= 1e-4 * (1 + other.abs().max())


def test_a_run_has_the_same_bits_on_every_number_of_threads():
    fused = run_of(mixed(2))
    x, c = given(2)
    threads = torch.get_num_threads()
    found = {}
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found[count] = all_of(fused, x, c)
            with torch.no_grad():
                found[count] += fused.inverse(x, c)
    finally:
        torch.set_num_threads(threads)
    for one, two, three in zip(*found.values(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=HALF)])
def test_a_hostile_row_stays_in_its_row_through_wide_and_narrow_layers(half):
    fused = run_of(mixed(), half=half)
    x, _ = given()
    bad = x.clone()
    bad[5] = torch.tensor([torch.nan, torch.inf, 1e30, 3e38, -1e30, 0.0, 1.0])
    keep = torch.arange(ROWS) != 5
    parameters = [p for step in fused.steps for p in step.parameters]
    gradients = []
    for rows in (x, bad):
        value, log_det = fused.inverse(rows)
        with torch.no_grad():
            assert torch.equal(fused.inverse(rows)[0][keep], value[keep])
        loss = torch.where(keep, log_det, 0.0).sum() + torch.where(keep[:, None], value, 0.0).sum()
        gradients.append([value[keep], log_det[keep], *torch.autograd.grad(loss, parameters)])
    for k, (good, mixed_) in enumerate(zip(*gradients, strict=True)):
        assert bool(mixed_.isfinite().all())
        if k < 2:
            assert torch.equal(good, mixed_)


def test_what_a_run_is_given_is_not_written_to():
    fused = run_of(mixed(2))
    x, c = given(2)
    before, context = x.clone(), c.clone()
    with torch.no_grad():
        fused.inverse(x, c)
    leaf = x.clone().requires_grad_()
    value, log_det = fused.inverse(leaf, c)
    weights = torch.ones_like(value), torch.ones_like(log_det)
    torch.autograd.grad([value, log_det], leaf, weights)
    assert torch.equal(leaf, before)
    assert torch.equal(x, before)
    assert torch.equal(c, context)
    assert all(bool((each == 1).all()) for each in weights)


def test_passes_of_several_threads_do_not_meet():
    fused = run_of(mixed())
    x, _ = given()
    parts = [x[: 100 + k] for k in range(24)]

    def scored(part):
        with torch.no_grad():
            return fused.inverse(part)[1]

    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(scored, parts))
    for own, part in zip(found, parts, strict=True):
        assert torch.equal(own, scored(part))
