"""How a fit's steps are computed: by which kernels and in which precision, and that it is the same fit."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffeo import TrainConfig, fit
from diffeo.bijections import Chain, Coupling, Mask, set_memory
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import BPF, MAF, NSF, Flow, RealNVP
from diffeo.kernels.native import has_bfloat16, library
from diffeo.laws import Affine
from diffeo.objectives import MaximumLikelihood, Objective
from diffeo.training.compute import computed

COMPILED = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")
LIKELIHOOD = MaximumLikelihood()
CONFIG = TrainConfig(max_steps=150, batch_size=64, seed=3, evaluate_every=50)


def rows(n=600):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=draws)
    return torch.stack([x[:, 0], x[:, 0].square() + 0.3 * x[:, 1], x[:, 2].tanh()], -1)


def trained(make, **settings):
    torch.manual_seed(0)
    flow = make()
    result = fit(flow, rows(), config=dataclasses.replace(CONFIG, **settings))
    return flow, result


@COMPILED
@pytest.mark.parametrize("make", [lambda: NSF(3, hidden=(32,)), lambda: MAF(3), lambda: RealNVP(3)])
def test_the_kernels_train_the_flow_that_torch_trains(make):
    _, fast = trained(make, precision="float32")
    _, plain = trained(make, precision="float32", compile="off")
    # The same steps but for rounding, which 150 of them magnify.
    assert fast.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=0.02)


@COMPILED
@pytest.mark.parametrize("memory", ["full", "constant"])
def test_a_layer_that_is_there_twice_is_trained_as_torch_trains_it(memory):
    def twice():
        mask = Mask.alternating(3)
        first, second = (
            Coupling(Affine(2.0), MLP(m.n_passed, m.n_moved, 2, hidden=(32,)), m)
            for m in (mask, Mask.alternating(3, flip=True))
        )
        return Flow(StandardNormal(3), Chain(first, second, first, second, memory=memory))

    _, fast = trained(twice, precision="float32")
    _, plain = trained(twice, precision="float32", compile="off")
    assert fast.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=0.02)


@pytest.mark.parametrize("settings", [{}, {"compile": "off"}, {"precision": "bfloat16"}])
def test_the_same_seed_gives_the_same_bits(settings):
    one, _ = trained(lambda: MAF(3, hidden=(130,), batch_norm=False), **settings)
    other, _ = trained(lambda: MAF(3, hidden=(130,), batch_norm=False), **settings)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("make", [lambda: NSF(3, hidden=(160,)), lambda: BPF(3, hidden=(160,))])
def test_products_in_bfloat16_reach_the_same_nats(make):
    """BPF's law is torch's: its conditioners go through autocast. Short runs end 0.1 apart."""
    low, found = trained(make, precision="bfloat16")
    _, plain = trained(make, precision="float32")
    assert low.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in low.parameters())
    assert found.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=0.15)


def test_float64_is_computed_in_float64_and_comes_back_as_it_was():
    flow, result = trained(lambda: NSF(3, hidden=(32,)), precision="float64")
    assert flow.dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in flow.parameters())
    assert result.best_held_out_nats < 4


def test_float64_resumes_from_its_checkpoint(tmp_path):
    make = lambda: MAF(3, batch_norm=False)  # noqa: E731
    whole, _ = trained(make, precision="float64")
    torch.manual_seed(0)
    cut = make()
    config = dataclasses.replace(CONFIG, precision="float64", checkpoint_every=50)

    def stop(evaluation):
        if evaluation.step == 100:
            raise KeyboardInterrupt

    fit(cut, rows(), config=config, checkpoint=tmp_path / "state", callback=stop)
    torch.manual_seed(0)
    again = make()
    fit(again, rows(), config=config, checkpoint=tmp_path / "state")
    for p, q in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(p, q)
    assert again.dtype == torch.float32


@COMPILED
@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply in bfloat16")
def test_auto_takes_bfloat16_for_wide_networks_of_compiled_layers_only():
    auto = TrainConfig()
    assert computed(MAF(3, hidden=(128,), batch_norm=False), LIKELIHOOD, auto).precision == "bfloat16"
    assert computed(MAF(3, hidden=(100,), batch_norm=False), LIKELIHOOD, auto).precision == "float32"
    assert computed(BPF(3, hidden=(128,)), LIKELIHOOD, auto).precision == "float32"
    assert computed(MAF(3, hidden=(128,)).double(), LIKELIHOOD, auto).precision == "float64"
    assert (
        computed(MAF(3, hidden=(128,)), LIKELIHOOD, dataclasses.replace(auto, compile="off")).kernels
        == "torch"
    )


def test_a_chain_keeps_its_memory_in_every_precision():
    for make in (lambda: MAF(3, hidden=(130,), batch_norm=False), lambda: BPF(3, hidden=(130,))):
        flow = set_memory(make(), "constant")
        config = TrainConfig(precision="bfloat16")
        assert computed(flow, LIKELIHOOD, config).flow.bijection.memory == "constant"


def test_a_flow_of_its_own_kind_is_computed_by_its_own_code():
    class Doubled(Flow):
        def log_prob(self, x, context=None):
            return 2 * super().log_prob(x, context)

    flow = Doubled(StandardNormal(2), Chain(Coupling(Affine(), MLP(1, 1, 2), Mask.halves(2))))
    assert computed(flow, LIKELIHOOD, TrainConfig()).flow is flow


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"precision": "float16"}, "precision"),
        ({"compile": True}, "compile"),
        ({"compile": "max"}, "compile"),
    ],
)
def test_what_is_not_known_is_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        TrainConfig(**settings)


class Smooth(Objective):
    """Maximum likelihood and a penalty on the score ∂ log p/∂x: it differentiates twice."""

    def loss(self, flow, batch):
        x = batch.x.requires_grad_()
        log_prob = flow(x)
        (score,) = torch.autograd.grad(log_prob.sum(), x, create_graph=True)
        return -log_prob.mean() + 1e-3 * score.square().mean()


def test_an_objective_that_differentiates_twice_is_computed_by_torch():
    flow = MAF(3, hidden=(128,), batch_norm=False)
    assert computed(flow, Smooth(), TrainConfig()).flow is flow
    result = fit(flow, rows(), objective=Smooth(), config=CONFIG)
    assert result.steps == 150


class Moved(MaximumLikelihood):
    """The likelihood of rows that were moved up the slope of another loss, of the other sign."""

    def loss(self, flow, batch):
        x = batch.x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(-10 * super().loss(flow, dataclasses.replace(batch, x=x)), x)
        return super().loss(flow, dataclasses.replace(batch, x=(x + 0.1 * slope).detach()))


@COMPILED
def test_gradients_on_the_way_to_a_loss_are_not_those_of_the_loss():
    found = []
    for compile in ("auto", "off"):
        torch.manual_seed(0)
        flow = RealNVP(3)
        begun = torch.nn.utils.parameters_to_vector(flow.parameters()).detach()
        config = TrainConfig(max_steps=6, batch_size=64, seed=3, precision="float32", compile=compile)
        fit(flow, rows(), config=config, objective=Moved(), validation=None)
        found.append(torch.nn.utils.parameters_to_vector(flow.parameters()).detach() - begun)
    assert float((found[0] - found[1]).norm()) < 0.05 * float(found[1].norm())
