"""Gradients that compiled layers write straight to the optimizer's buffers: always those of autograd."""

from __future__ import annotations

import pytest
import torch

from diffeo.bijections import Chain, Coupling, Mask
from diffeo.bijections.fused import Fused, Sink
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.kernels.native import library
from diffeo.laws import Affine, Bernstein
from diffeo.objectives import MaximumLikelihood
from diffeo.training import TrainConfig
from diffeo.training.optimisation import Optimisation
from diffeo.training.plan import plan_for
from diffeo.training.split import checked_rows

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")


def rows(n=256):
    draws = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=draws) * 1.5


def layer(flip, law=None):
    law = Affine() if law is None else law
    mask = Mask.halves(4, flip=flip)
    return Coupling(law, MLP(2, 2, law.n_params, hidden=(16, 16)), mask)


def flow_of(*layers):
    draws = torch.Generator().manual_seed(1)
    flow = Flow(StandardNormal(4), Chain(*layers))
    with torch.no_grad():
        for p in flow.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=draws))
    return flow


def running_of(flow, objective=None, **settings):
    config = TrainConfig(max_steps=20, batch_size=64, weight_decay=0.01, **settings)
    train, _ = checked_rows(flow, rows(), None, None, noise=0.0, seed=0)
    objective = MaximumLikelihood() if objective is None else objective
    return Optimisation(flow, objective, train, plan_for(len(train), config), config)


def plain():
    return flow_of(layer(False), layer(True))


def beside_torch():
    """Return compiled layers around one of torch's."""
    return flow_of(layer(False), layer(True, Bernstein(4)), layer(False))


def shared():
    """Return layers that share a network within a run."""
    flow = flow_of(layer(False), layer(True), layer(False))
    first, _, last = flow.bijection.bijections
    last.conditioner = first.conditioner
    return flow


def shared_apart():
    """Return layers that share a network, in two runs with a layer of torch between."""
    flow = flow_of(layer(False), layer(True, Bernstein(4)), layer(False))
    first, _, last = flow.bijection.bijections
    last.conditioner = first.conditioner
    return flow


def shared_with_torch():
    """Return a compiled layer and one of torch's with the same network, but for its outlet."""
    flow = flow_of(layer(False), layer(True, Bernstein(1)))
    first, last = flow.bijection.bijections
    last.conditioner.layers[0] = first.conditioner.layers[0]
    return flow


def frozen():
    flow = plain()
    next(flow.parameters()).requires_grad_(False)
    return flow


def turned():
    """Return a flow with a weight that does not lie row by row."""
    flow = plain()
    weight = next(flow.parameters())
    weight.data = weight.data.t().contiguous().t()
    return flow


class Twice(MaximumLikelihood):
    """Two passes, of the batch and of its mirror image."""

    def loss(self, flow, batch):
        return super().loss(flow, batch) - flow(-batch.x).mean()


class Penalised(MaximumLikelihood):
    """Maximum likelihood, and the squares of all parameters."""

    def __init__(self, flow):
        object.__setattr__(self, "parameters", list(flow.parameters()))

    def loss(self, flow, batch):
        return super().loss(flow, batch) + 0.1 * sum(p.square().sum() for p in self.parameters)


class Now(MaximumLikelihood):
    """Maximum likelihood at odd calls; at even ones the layers have no gradient."""

    def __init__(self):
        object.__setattr__(self, "calls", [0])

    def loss(self, flow, batch):
        self.calls[0] += 1
        loss = super().loss(flow, batch)
        return loss if self.calls[0] % 2 else loss.detach() + 0.0 * flow.gate


FLOWS = [plain, beside_torch, shared, shared_apart, shared_with_torch, frozen, turned]


def trained(flow, objective, monkeypatch, *, straight):
    with monkeypatch.context() as patch:
        if not straight:
            patch.setattr(Sink, "claim", lambda self, parameters: None)
        running = running_of(flow, objective)
        losses, norms = running.run(0, 12, lambda step: 1e-2)
        running.close()
    return [losses, norms, *(p.detach() for p in flow.parameters())], running


@pytest.mark.parametrize("objective", ["likelihood", "twice", "penalised"])
@pytest.mark.parametrize("make", FLOWS)
def test_steps_are_those_of_autograd(make, objective, monkeypatch):
    found = []
    for straight in (True, False):
        flow = make()
        chosen = {"likelihood": MaximumLikelihood(), "twice": Twice(), "penalised": Penalised(flow)}
        found.append(trained(flow, chosen[objective], monkeypatch, straight=straight)[0])
    for own, other in zip(*found, strict=True):
        # To the bit, but where several gradients are added in another order.
        if objective == "likelihood" and "shared" not in make.__name__:
            assert torch.equal(own, other)
        assert torch.allclose(own, other, rtol=1e-4, atol=1e-5)


def test_layers_claim_their_places_where_nothing_speaks_against_it(monkeypatch):
    for make, wanted in ((plain, 12), (beside_torch, 12), (shared, 0), (shared_apart, 6), (frozen, 0)):
        flow = make()
        _, running = trained(flow, None, monkeypatch, straight=True)
        assert len(running._sink.written) == wanted
        # One that is shared has another gradient besides.
        both = [p for p in flow.parameters() if id(p) in running._sink.written and p.grad is not None]
        assert len(both) == (6 if make is shared_apart else 0)
    _, running = trained(plain(), None, monkeypatch, straight=False)
    assert not running._sink.written


def test_a_hook_of_a_parameter_is_called(monkeypatch):
    for straight in (True, False):
        flow = plain()
        heard = []
        weight = next(flow.parameters())
        weight.register_hook(lambda g, heard=heard: heard.append(g) or 2 * g)
        found, running = trained(flow, None, monkeypatch, straight=straight)
        assert len(heard) == 12
        assert not running._sink.written
        assert found[0].isfinite().all()


def test_layers_without_a_gradient_stay_in_that_step(monkeypatch):
    found = []
    for straight in (True, False):
        flow = plain()
        flow.gate = torch.nn.Parameter(torch.ones(()))
        objective = Now()
        with monkeypatch.context() as patch:
            if not straight:
                patch.setattr(Sink, "claim", lambda self, parameters: None)
            running = running_of(flow, objective)
            running._computed.flow.gate = flow.gate
            running.run(0, 5, lambda step: 1e-2)
            counts = [float(block.step) for flat in running.flats for block in flat.blocks]
            running.close()
        found.append([*flow.parameters(), torch.tensor(counts)])
        assert 3.0 in counts  # of five steps, those at odd calls
    for own, other in zip(*found, strict=True):
        assert torch.equal(own, other)


def test_outside_a_step_gradients_are_where_they_always_are():
    flow = plain()
    running = running_of(flow)
    assert any(isinstance(part, Fused) for part in running._computed.flow.modules())
    running.run(0, 2, lambda step: 1e-2)
    running.loss_of(2).backward()
    assert all(p.grad is not None for p in flow.parameters())
    running.close()


def test_a_claim_is_gone_back_through_once():
    flow = plain()
    running = running_of(flow)
    with running._sink.opened():
        loss = running.loss_of(0)
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="expected one pass"):
            loss.backward()
    running.close()
