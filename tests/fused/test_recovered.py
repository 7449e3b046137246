"""Activations that are recovered on the way back, by the compiled kernels."""

from __future__ import annotations

import pytest
import torch

from diffeo.bijections import Autoregressive, Chain
from diffeo.bijections.fused.recovered import _drifted
from diffeo.conditioners import MaskedMLP
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
