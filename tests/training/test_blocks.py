"""Layers compiled by torch, one function for all that are alike; as they are where that is not right.

Most of it traces only (a backend that computes graphs as they are), for speed.
"""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from diffeo import TrainConfig, fit
from diffeo.bijections import Chain, Coupling, Mask, set_memory
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.flows import BPF, MAF, NAF, Flow, RealNVP
from diffeo.kernels.native import library
from diffeo.laws import Affine, Bernstein
from diffeo.objectives import MaximumLikelihood, Objective
from diffeo.training import blocks, compute
from diffeo.training.compute import computed

LIKELIHOOD = MaximumLikelihood()
CONFIG = TrainConfig(max_steps=40, batch_size=64, seed=3, evaluate_every=20, compile="blocks")


class Counter:
    """A backend that counts graphs, and computes them as they are, or ``wrong`` by a factor."""

    def __init__(self, wrong=1.0):
        self.graphs, self.wrong = 0, wrong

    def __call__(self, module, inputs):
        self.graphs += 1

        def call(*given):
            value, log_det = module(*given)
            return value * self.wrong, log_det

        return module if self.wrong == 1 else call


@pytest.fixture(autouse=True)
def torch_alone(monkeypatch, caplog):
    """No compiled kernels: small, quick layers are then torch's to compile."""
    monkeypatch.setattr(compute, "library", lambda: None)
    caplog.set_level(logging.INFO, "diffeo.training")
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def counter(monkeypatch):
    found = Counter()
    monkeypatch.setattr(blocks, "BACKEND", found)
    return found


def rows(n=600):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=draws)
    return torch.stack([x[:, 0], x[:, 0].square() + 0.3 * x[:, 1], x[:, 2].tanh()], -1)


def small():
    torch.manual_seed(0)
    return RealNVP(3, couplings=6, hidden=(8,))


def alike(dropout=0.0):
    layers = (
        Coupling(Affine(), MLP(1, 2, 2, hidden=(8,), dropout=dropout), Mask.halves(3)) for _ in range(2)
    )
    return Flow(StandardNormal(3), Chain(*layers))


def trained(make=small, n=600, **settings):
    torch.manual_seed(0)
    flow = make()
    return flow, fit(flow, rows(n), config=dataclasses.replace(CONFIG, **settings))


def equal(one, other):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_layers_of_one_structure_share_one_function(counter, caplog):
    # 540 training rows make batches of two sizes; masks alternate between two structures.
    _, result = trained(n=601, batch_size=77)
    assert "6 of 6 layers are compiled by block, of 2 structures" in caplog.text
    assert counter.graphs == 2
    assert result.steps == 40


def test_the_flow_is_trained_as_torch_trains_it(counter):
    flow, found = trained()
    plain, wanted = trained(compile="off")
    assert counter.graphs
    assert found.best_held_out_nats == pytest.approx(wanted.best_held_out_nats, abs=1e-4)
    assert all(p.isfinite().all() for p in flow.parameters())
    assert type(flow.bijection) is type(plain.bijection)
    assert not any(isinstance(part, blocks.Block) for part in flow.modules())


def test_the_same_seed_gives_the_same_bits(counter):
    assert equal(trained()[0], trained()[0])


def test_a_cut_run_ends_with_the_same_bits(counter, tmp_path):
    whole, _ = trained()
    config = dataclasses.replace(CONFIG, checkpoint_every=20)

    def stop(evaluation):
        if evaluation.step == 20:
            raise KeyboardInterrupt

    fit(small(), rows(), config=config, checkpoint=tmp_path / "state", callback=stop)
    again = small()
    fit(again, rows(), config=config, checkpoint=tmp_path / "state")
    assert equal(again, whole)


@pytest.mark.parametrize("settings", [{"precision": "float64"}, {"precision": "bfloat16"}])
def test_in_every_precision(counter, settings, caplog):
    _, found = trained(**settings)
    _, plain = trained(**settings, compile="off")
    assert "6 of 6 layers" in caplog.text
    assert found.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=0.02)


def test_with_context(counter, caplog):
    torch.manual_seed(0)
    flow = RealNVP(3, 2, couplings=2, hidden=(8,))
    fit(flow, rows(), context=rows()[:, :2], config=CONFIG)
    assert "2 of 2 layers" in caplog.text


def test_inductor_agrees_with_torch(caplog):
    if library() is None:
        pytest.skip("no compiler: inductor has none either")
    _, found = trained(alike)
    _, plain = trained(alike, compile="off")
    assert "2 of 2 layers are compiled by block, of 1 structures" in caplog.text
    assert found.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=0.01)


@pytest.mark.parametrize("make", [lambda: BPF(3, degree=4), lambda: NAF(3, transforms=2, units=2)])
def test_laws_that_the_kernels_do_not_know(counter, make, caplog):
    _, found = trained(make)
    _, plain = trained(make, compile="off")
    assert "layers are compiled by block" in caplog.text
    assert "0 of" not in caplog.text
    assert found.best_held_out_nats == pytest.approx(plain.best_held_out_nats, abs=1e-3)


# -- what stays as it is -----------------------------------------------------------------------------


def test_a_compiler_that_is_wrong_is_found_out(monkeypatch, caplog):
    monkeypatch.setattr(blocks, "BACKEND", Counter(wrong=1.01))
    flow, _ = trained()
    assert "0 of 6 layers are compiled by block" in caplog.text
    assert "from float64" in caplog.text
    assert equal(flow, trained(compile="off")[0])


def test_a_compiler_that_fails_leaves_torch(monkeypatch, caplog):
    def broken(module, inputs):
        raise RuntimeError("no such compiler")

    monkeypatch.setattr(blocks, "BACKEND", broken)
    flow, _ = trained()
    assert "no such compiler" in caplog.text
    assert equal(flow, trained(compile="off")[0])


def dropping():
    return alike(dropout=0.5)


def heard():
    flow = alike()
    flow.bijection.bijections[0].conditioner.register_forward_hook(print_nothing)
    return flow


def print_nothing(module, given, found):
    return None


def counting():
    flow = alike()
    layers = flow.bijection.bijections[0].conditioner.layers
    layers[1] = torch.nn.Sequential(torch.nn.BatchNorm1d(8), layers[1])
    return flow


class Own(Coupling):
    """A layer that no model file can name."""


def unnamed():
    return Flow(
        StandardNormal(3), Chain(Own(Bernstein(4), MLP(1, 2, Bernstein(4).n_params), Mask.halves(3)))
    )


@pytest.mark.parametrize(
    ("make", "reason", "count"),
    [
        (dropping, "it draws random numbers", "0 of 2"),
        (heard, "it has hooks", "1 of 2"),
        (unnamed, "a model file could not describe it", "0 of 1"),
        (counting, "a pass changes its state", "1 of 2"),
    ],
)
def test_a_layer_that_cannot_be_compiled_stays_as_it_is(counter, caplog, make, reason, count):
    trained(make)
    assert reason in caplog.text
    assert f"{count} layers are compiled by block" in caplog.text


def test_only_so_many_structures_are_compiled(counter, caplog, monkeypatch):
    monkeypatch.setattr(blocks, "MOST", 1)
    trained()
    assert counter.graphs == 1
    assert "3 of 6 layers" in caplog.text
    assert "there are 1 structures before it" in caplog.text


class Smooth(Objective):
    """It differentiates twice, which compiled functions cannot."""

    def loss(self, flow, batch):
        return -flow(batch.x).mean()


def test_flows_that_have_no_blocks():
    assert len(computed(small(), LIKELIHOOD, CONFIG).blocks) == 6
    assert not computed(set_memory(small(), "constant"), LIKELIHOOD, CONFIG).blocks
    assert not computed(small(), Smooth(), CONFIG).blocks
    assert not computed(small(), LIKELIHOOD, TrainConfig()).blocks


def test_statistics_of_batches_are_as_if_nothing_had_been_tried(counter):
    make = lambda: MAF(3, transforms=2, hidden=(8,))  # noqa: E731
    flow, plain = trained(make)[0], trained(make, compile="off")[0]
    for name, tensor in flow.named_buffers():
        assert torch.allclose(tensor, plain.get_buffer(name), atol=1e-4), name
