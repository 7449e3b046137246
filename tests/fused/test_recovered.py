"""Activations that are recovered on the way back, by the compiled kernels."""

from __future__ import annotations

import math

import pytest
import torch

from diffeo.bijections import LU, Autoregressive, Chain, Coupling, Mask
from diffeo.bijections.fused import Fused, Sink
from diffeo.bijections.fused.recovered import _drifted
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.flows.accelerated import accelerated
from diffeo.kernels.native import library
from diffeo.laws import Affine, RationalQuadratic

from .layers import (
    FEATURES,
    HALF,
    LAWS,
    ROWS,
    derivatives,
    rows,
    stack,
    stirred,
)

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=HALF)])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("law", LAWS)
def test_recovered_activations_give_the_gradients_of_kept_ones(law, context, half):
    x, c = rows(context)
    found = []
    for memory in ("full", "constant"):
        chain = stack(37, LAWS[law], context, memory, gain=0.05)
        fast = accelerated(chain, half=half, training=True)
        assert [part.memory for part in fast.bijections] == [memory]
        found.append(derivatives(fast, list(chain.parameters()), x, c, inverse=True))
    # In bfloat16 an input that moved by a rounding may round to its other neighbour, 2⁻⁸ away.
    limit = 2**-8 if half else 1e-5
    for kept, recovered in zip(*found, strict=True):
        assert (recovered - kept).abs().max() <= limit * (1 + kept.abs().max())


def test_activations_that_drift_are_computed_again(caplog):
    x, _ = rows()
    found = []
    caplog.set_level("INFO", "diffeo.bijections")
    for memory in ("full", "constant"):
        chain = stack(16, Affine(4.0), memory=memory, gain=0.3)
        fast = accelerated(chain, training=True)
        found.append(derivatives(fast, list(chain.parameters()), x, None, inverse=True))
    assert "are repeated" in caplog.text
    for kept, repeated in zip(*found, strict=True):
        assert (repeated - kept).abs().max() <= 1e-5 * (1 + kept.abs().max())


@pytest.mark.parametrize("first", [0, 5])
def test_drift_behind_an_autoregressive_layer_is_seen(first, caplog):
    x, _ = rows()
    network = MaskedMLP(FEATURES, 2, hidden=(40,))
    masked = stirred(Autoregressive(Affine(4.0), network), gain=0.02)
    found = []
    caplog.set_level("INFO", "diffeo.bijections")
    for memory in ("full", "constant"):
        couplings = list(stack(15, Affine(4.0), gain=0.3).bijections)
        chain = Chain(*couplings[: 15 - first], masked, *couplings[15 - first :], memory=memory)
        fast = accelerated(chain, training=True)
        found.append(derivatives(fast, list(chain.parameters()), x, None, inverse=True))
    assert "are repeated" in caplog.text
    for kept, repeated in zip(*found, strict=True):
        assert (repeated - kept).abs().max() <= 1e-5 * (1 + kept.abs().max())


def test_recovering_takes_the_memory_of_few_layers():
    x = torch.randn(512, FEATURES)

    def numbers(count, memory):
        """Return what the pool has lent at a time, which is what lies between forth and back."""
        chain = stack(count, Affine(), memory=memory, gain=0.02)
        fast = accelerated(chain, training=True)
        pool = fast.bijections[0].pool
        fast.inverse(x)[1].sum().backward()
        return sum(tensor.numel() for tensors in pool._free.values() for tensor in tensors)

    assert numbers(128, "constant") <= 1.3 * numbers(16, "constant")
    assert numbers(128, "full") >= 6 * numbers(16, "full")


def pairs(count, memory, nested):
    """A coupling and a linear layer by turns, which the kernels know only half of."""
    torch.manual_seed(0)
    parts = [[coupling, LU(FEATURES)] for coupling in stack(count, Affine(), gain=0.05).bijections]
    if nested:
        return Chain(*(Chain(*pair) for pair in parts), memory=memory)
    return Chain(*(part for pair in parts for part in pair), memory=memory)


@pytest.mark.parametrize("nested", [False, True])
def test_layers_between_others_have_their_gradients(nested):
    x, _ = rows()
    found = []
    for memory in ("full", "constant"):
        chain = pairs(6, memory, nested)
        fast = accelerated(chain, training=True)
        found.append(derivatives(fast, list(chain.parameters()), x, None, inverse=True))
    for kept, recovered in zip(*found, strict=True):
        assert kept.any()
        assert (recovered - kept).abs().max() <= 1e-5 * (1 + kept.abs().max())


def test_layers_between_others_keep_no_activations():
    def kept(count):
        """Return how many tensors of a row and feature each a pass keeps."""
        chain, x = pairs(count, "constant", nested=False), rows()[0]
        own, seen = {p.data_ptr() for p in chain.parameters()}, set()

        def pack(tensor):
            if tensor.data_ptr() not in own and tensor.shape == x.shape:
                seen.add(tensor.data_ptr())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            accelerated(chain, training=True).inverse(x)
        return len(seen)

    assert kept(64) <= kept(8) + 64 * 2 // 32  # one a run of 32 layers


@pytest.mark.parametrize("memory", ["full", "constant"])
def test_gradients_are_written_to_a_sink_in_either_memory(memory):
    x, _ = rows()
    chain = stack(20, Affine(), memory=memory, gain=0.05)
    parameters = list(chain.parameters())
    (fast,) = accelerated(chain, training=True).bijections
    expected = torch.autograd.grad(fast.inverse(x)[1].sum(), parameters)
    places = [torch.full_like(p, torch.nan) for p in parameters]
    fast.sink = Sink(zip(parameters, places, strict=True))
    with fast.sink.opened():
        fast.inverse(x)[1].sum().backward()
    assert fast.sink.written == {id(p) for p in parameters}
    for place, gradient in zip(places, expected, strict=True):
        torch.testing.assert_close(place, gradient, rtol=1e-6, atol=1e-6)


def test_a_sink_is_not_written_twice_where_a_pass_is_repeated():
    x, _ = rows()
    chain = pairs(6, "constant", nested=False)
    for layer in list(chain.bijections)[::2]:
        stirred(layer, gain=0.6)  # so much that some rows do not come back
    parameters = list(chain.parameters())
    fast = accelerated(chain, training=True)
    expected = torch.autograd.grad(fast.inverse(x)[1].sum(), parameters)
    sink = Sink((p, torch.zeros_like(p)) for p in parameters)
    for part in fast.modules():
        if isinstance(part, Fused):
            part.sink = sink
    with sink.opened():
        fast.inverse(x)[1].sum().backward()
    assert not sink.written
    for p, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def squeezing(k, log_scale, shift, weight=0.0):
    """One feature times exp(log_scale), plus shift; with a weight, as the other feature says."""
    layer = Coupling(Affine(20.0), MLP(1, 1, 2, hidden=(8,)), Mask.alternating(2, flip=bool(k)))
    *inner, last_weight, last_bias = layer.parameters()
    with torch.no_grad():
        for p in inner:
            p.copy_(torch.randn(p.shape))
        last_weight.fill_(weight)
        last_bias.copy_(torch.tensor([20.0 * math.atanh(log_scale / 20.0), shift]))
    return layer


def test_drift_that_grows_and_is_squeezed_again_is_seen(caplog):
    x = torch.tensor([[0.4, 1.0e-5], [-0.7, 2.0e-5]])
    caplog.set_level("INFO", "diffeo.bijections")
    found = []
    for memory, dtype in (("full", torch.float64), ("full", torch.float32), ("constant", torch.float32)):
        torch.manual_seed(0)
        layers = squeezing(0, -11.0, 1.0), squeezing(0, 11.0, -math.exp(11.0)), squeezing(1, 0.0, 0.0, 1e-4)
        chain = Chain(*layers, squeezing(0, -11.0, 0.0), memory=memory).to(dtype)
        fast = accelerated(chain, training=True)
        z, log_det = fast.inverse(x.to(dtype))
        loss = z.square().sum() / 2 - log_det.sum()
        found.append(torch.autograd.grad(loss, list(layers[2].parameters())))
    assert "are repeated" in caplog.text
    exact, full, constant = found
    for right, kept, recovered in zip(exact, full, constant, strict=True):
        off = (kept - right).norm()
        assert (recovered - right).norm() <= 2 * off + 1e-6 * right.norm()


def test_a_hostile_row_among_recovered_activations_stays_in_its_row():
    x, _ = rows()
    bad = x.clone()
    bad[5] = torch.tensor([torch.nan, torch.inf, 1e30, 3e38, -1e30, 0.0, 1.0])
    chain = stack(20, RationalQuadratic(5), memory="constant")
    fast = accelerated(chain, training=True)
    keep = torch.arange(ROWS) != 5
    gradients = []
    for rows_ in (x, bad):
        loss = torch.where(keep, fast.inverse(rows_)[1], 0.0).sum()
        gradients.append(torch.autograd.grad(loss, list(chain.parameters())))
    for good, mixed in zip(*gradients, strict=True):
        assert (good - mixed).abs().max() <= 1e-5 * (1 + good.abs().max())


def test_what_was_recovered_is_gone_back_through_once():
    chain = stack(20, Affine(), memory="constant", gain=0.02)
    loss = accelerated(chain, training=True).inverse(rows()[0])[1].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one pass"):
        loss.backward()


def test_an_input_that_comes_back_infinite_has_drifted():
    known = torch.tensor([[0.0, 3e38], [torch.nan, 1.0]])
    assert not _drifted(known.clone(), known)
    assert _drifted(torch.tensor([[0.0, torch.inf], [0.0, 0.0]]), known)
    assert not _drifted(torch.tensor([[0.0, 3e38], [5.0, torch.inf]]), known)
