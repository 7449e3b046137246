"""Steps that are recorded and replayed: what surrounds a recording, with a stand-in for CUDA."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch

from diffeo import TrainConfig, fit
from diffeo.bijections import BatchNorm, Chain
from diffeo.errors import ConfigError
from diffeo.flows import NSF, Flow, RealNVP
from diffeo.objectives import Batch, EnergyDistance, MaximumLikelihood
from diffeo.training import optimisation
from diffeo.training.graphs import WARM, Graphs, check_graphs
from diffeo.training.loop import _Run

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
CONFIG = TrainConfig(max_steps=60, batch_size=64, seed=3, evaluate_every=20, device="cpu", compile="off")


class Again:
    """Stands in for CUDA: a recording takes no step, a replay takes it and writes over the same results."""

    def __init__(self, device=None):
        self.counts = {"aside": 0, "record": 0, "replay": 0}
        made.append(self)

    def aside(self, step):
        self.counts["aside"] += 1
        return step()

    def record(self, step):
        self.counts["record"] += 1
        results = torch.full((), 7.0), torch.full((), 7.0)

        def replay():
            self.counts["replay"] += 1
            for to, new in zip(results, step(), strict=True):
                to.copy_(new)

        return replay, results


made: list[Again] = []


def rows(n=200, context=0):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=draws)
    x = torch.stack([x[:, 0], x[:, 0].square() + 0.3 * x[:, 1], x[:, 2].tanh()], -1)
    return x, torch.randn(n, context, generator=draws) if context else None


def with_graphs(config):
    """Return a configuration that asks for graphs, on a processor too."""
    config = copy.copy(config)
    object.__setattr__(config, "graphs", True)
    return config


def trained(make, config, context=0, **options):
    torch.manual_seed(0)
    flow = make()
    x, c = rows(context=context)
    result = fit(flow, x, context=c, config=config, **options)
    return list(flow.state_dict().values()), result


@pytest.fixture
def stand_in(monkeypatch):
    made.clear()
    monkeypatch.setattr(optimisation, "CudaRecorder", Again)
    # A graph reads a rate of float32: with such rates nothing at all may differ.
    rate = _Run._rate
    monkeypatch.setattr(
        _Run, "_rate", lambda *given: float(torch.tensor(rate(*given), dtype=torch.float32))
    )
    monkeypatch.setattr(optimisation, "check_graphs", lambda *args, **kwargs: None)


def normed():
    flow = RealNVP(3, couplings=2, hidden=(8,))
    return Flow(flow.base, Chain(flow.bijection, BatchNorm(3)))


@pytest.mark.parametrize(
    ("make", "context", "settings", "sizes"),
    [
        (lambda: NSF(3, hidden=(8,)), 0, {}, 1),
        (lambda: RealNVP(3, context=2, hidden=(8,)), 2, {"accumulate": 2, "noise": 0.1}, 1),
        (normed, 0, {"clip_norm": None, "batch_size": 25}, 2),  # of 25 and 26 rows
    ],
)
def test_recorded_steps_are_the_plain_ones(make, context, settings, sizes, stand_in):
    config = dataclasses.replace(CONFIG, **settings)
    plain, expected = trained(make, config, context)
    found, result = trained(make, with_graphs(config), context)
    for own, right in zip(found, plain, strict=True):
        assert torch.equal(own, right)
    assert [e.step for e in result.history] == [e.step for e in expected.history]
    assert result.best_held_out_nats == expected.best_held_out_nats
    (recorder,) = made
    counts = recorder.counts
    assert counts["record"] == sizes
    assert counts["aside"] == WARM * counts["record"]
    assert counts["aside"] + counts["replay"] == 60


def test_a_step_that_is_not_finite_is_skipped_and_steps_are_recorded_anew(stand_in):
    config = dataclasses.replace(CONFIG, clip_norm=None, batch_size=20, evaluate_every=30, max_bad_steps=50)
    x, _ = rows()
    x[5] = 1e25  # its square is no float32
    found = []
    for settings in (config, with_graphs(config)):
        torch.manual_seed(0)
        flow = RealNVP(3, couplings=2, hidden=(8,))
        result = fit(flow, x, config=settings, validation=None)
        found.append((list(flow.state_dict().values()), [event.step for event in result.events]))
    assert found[0][1] == found[1][1]
    assert found[0][1]
    for own, right in zip(found[1][0], found[0][0], strict=True):
        assert torch.equal(own, right)
    assert made[0].counts["record"] > 1
    assert made[0].counts["replay"] > 1


def test_results_are_not_those_of_the_next_step():
    graphs = Graphs(lambda batch, rate, weight: (batch.x.sum() * rate, weight.clone()), Again())
    found = [graphs(Batch(torch.full((2, 1), float(k))), 0.5, 0.25) for k in range(2 * WARM)]
    assert [float(loss) for loss, _ in found] == [float(k) for k in range(2 * WARM)]
    assert all(float(norm) == 0.25 for _, norm in found)
    graphs.forget()
    assert float(graphs(Batch(torch.ones(2, 1)), 2.0, 0.0)[0]) == 4.0


def test_a_step_that_waits_for_the_device_is_named():
    class Waits(Again):
        def record(self, step):
            raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = Graphs(lambda batch, rate, weight: (batch.x.sum(), weight), Waits())
    batch = Batch(torch.ones(2, 1))
    for _ in range(WARM):
        graphs(batch, 1.0, 0.0)
    with pytest.raises(ConfigError, match=r"stream is capturing.*graphs=False"):
        graphs(batch, 1.0, 0.0)


def test_they_are_refused_without_a_gpu():
    with pytest.raises(ConfigError, match=r"graphs=True on device='cpu'.*graphs=False"):
        TrainConfig(graphs=True, device="cpu")
    with pytest.raises(ConfigError, match="graphs='yes' must be True or False"):
        TrainConfig(graphs="yes")
    with pytest.raises(ConfigError, match="expected a CUDA device"):
        check_graphs(MaximumLikelihood(), torch.device("cpu"), gated=True)
    with pytest.raises(ConfigError, match="fused AdamW"):
        check_graphs(MaximumLikelihood(), torch.device("cuda"), gated=False)
    with pytest.raises(ConfigError, match=r"EnergyDistance.*graphs=False"):
        check_graphs(EnergyDistance(), torch.device("cuda"), gated=True)
    check_graphs(MaximumLikelihood(), torch.device("cuda"), gated=True)


@GPU
@pytest.mark.parametrize("make", [lambda: NSF(3, hidden=(16,)), lambda: RealNVP(3, hidden=(16,))])
def test_on_a_gpu_a_fit_with_graphs_is_one_without(make):
    config = dataclasses.replace(CONFIG, device="cuda", compile="auto")
    plain, expected = trained(make, config)
    found, result = trained(make, dataclasses.replace(config, graphs=True))
    for own, right in zip(found, plain, strict=True):
        assert torch.allclose(own, right, rtol=1e-2, atol=5e-3)
    assert result.best_held_out_nats == pytest.approx(expected.best_held_out_nats, abs=1e-2)
