"""The numerics guard: a bad step is skipped and named, training goes on, and gives up in the end."""

import logging
import math

import pytest
import torch
from torch import Tensor, nn

from diffeo.bijections import Bijection, Chain
from diffeo.bijections.chain import layers_of
from diffeo.distributions import StandardNormal
from diffeo.errors import TrainingError
from diffeo.flows import NCSF, Flow
from diffeo.training import TrainConfig, fit

CONFIG = TrainConfig(max_steps=100, batch_size=32, evaluate_every=25, max_bad_steps=20)


class Fragile(Bijection):
    """x = z + shift, until a row lies beyond ``limit``: then its value, or its gradient, is not finite."""

    def __init__(self, limit: float, kind: str = "activation") -> None:
        super().__init__()
        self.limit, self.kind = limit, kind
        self.shift = nn.Parameter(torch.zeros(2))

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z + self.shift, z.new_zeros(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        beyond = (x.detach().abs().amax(-1) > self.limit) & self.training
        value, log_det = x - self.shift, x.new_zeros(x.shape[:-1])
        if self.kind == "activation":
            value = torch.where(beyond[:, None], torch.nan, value)
        elif self.kind == "log-determinant":
            log_det = torch.where(beyond, torch.inf, log_det)
        elif beyond.any():
            # √|shift| at 0: the value is 0, its derivative is infinite.
            root = (self.shift.sum() - self.shift.sum().detach()).abs().sqrt()
            log_det = log_det + root
        return value, log_det


def data(rows: int = 200, outlier: float | None = None) -> Tensor:
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    if outlier is not None:
        x[17] = outlier
    return x


def fragile(kind: str, couplings: Flow, limit: float = 5.0) -> Flow:
    first, *rest = couplings.bijection.bijections
    return Flow(StandardNormal(2), Chain(first, Fragile(limit, kind), *rest))


@pytest.mark.parametrize(
    ("kind", "quantity"),
    [
        ("activation", "activation"),
        ("log-determinant", "log-determinant"),
        ("gradient", "gradient of bijection.bijections.1.shift"),
    ],
)
def test_a_bad_step_is_skipped_and_its_layer_named(small, caplog, kind, quantity):
    flow = fragile(kind, small(batch_norm=False))
    with caplog.at_level(logging.WARNING, "diffeo.training"):
        result = fit(flow, data(outlier=8.0), validation=data(20), config=CONFIG)
    # The row comes once an epoch of seven steps.
    assert 1 <= len(result.events) <= math.ceil(100 / 7)
    event = result.events[0]
    assert event.quantity == quantity
    assert event.layer == "1: Fragile"
    if kind != "gradient":  # a gradient belongs to the batch
        assert event.row == 17
    assert event.learning_rate_scale == 0.5
    assert "1: Fragile" in caplog.text
    assert "1: Fragile" in str(result)
    assert all(math.isfinite(float(p.detach().abs().sum())) for p in flow.parameters())
    assert result.best_held_out_nats < result.history[0].held_out_nats


def test_it_gives_up_after_the_stated_number(small):
    flow = fragile("activation", small(), limit=0.0)
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    config = TrainConfig(max_steps=100, max_bad_steps=3)
    with pytest.raises(
        TrainingError, match=r"step 3: 4 step\(s\).*max_bad_steps=3.*1: Fragile.*learning_rate"
    ):
        fit(flow, data(), config=config)
    assert not flow.training
    after = flow.state_dict()
    shifted = [name for name in before if "shift" in name or "conditioner" in name]
    assert all(torch.equal(before[name], after[name]) for name in shifted)


def test_it_says_what_to_do_in_the_terms_of_the_flow(small):
    """Noise takes angles off the circle: nothing is there to standardise."""
    with pytest.raises(TrainingError, match=r"standardise the columns with flow.then\(Standardize"):
        fit(fragile("activation", small(), limit=0.0), data(), config=TrainConfig(max_bad_steps=0))
    flow = NCSF(2, transforms=1, bins=3, hidden=(8,))
    config = TrainConfig(max_bad_steps=0, noise=3.0)
    with pytest.raises(TrainingError, match=r"closes with flow.then\(Wrap\(low, high\)\)") as raised:
        fit(flow, data().clamp(-3.0, 3.0), config=config)
    assert "Standardize" not in str(raised.value)


def test_no_bad_step_is_forgiven_where_none_may_be(small):
    with pytest.raises(TrainingError, match="step 0: 1 step"):
        fit(fragile("activation", small(), limit=0.0), data(), config=TrainConfig(max_bad_steps=0))


class Once(Flow):
    """A flow whose third call in training returns NaN: the step cannot be repeated."""

    calls = 0

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        value = super().forward(x, context)
        if self.training:
            self.calls += 1
            if self.calls == 40:
                value = value * torch.nan
        return value


def test_a_passing_fault_is_skipped_and_said_to_have_passed(small):
    like = small()
    flow = Once(like.base, like.bijection)
    result = fit(flow, data(), config=CONFIG)
    assert [event.step for event in result.events] == [39]
    assert "did not recur" in result.events[0].quantity
    assert result.steps == 100
    assert result.stopped_by == "max_steps"


def test_training_goes_on_from_the_last_good_weights(small):
    """A rate that throws the weights away is halved until the run is stable again."""

    class Steep(Bijection):
        """x = sinh(a) z: finite until |a| leaves the range of exp."""

        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.tensor(1.0))

        def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return z * self.a.exp(), (2 * self.a).expand(z.shape[:-1])

        def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return x / self.a.exp(), (-2 * self.a).expand(x.shape[:-1])

    flow = Flow(StandardNormal(2), Steep())
    config = TrainConfig(max_steps=300, learning_rate=400.0, warmup=0.0, max_bad_steps=20)
    result = fit(flow, data(), config=config)
    assert 1 <= len(result.events) <= 20
    assert result.events[-1].learning_rate_scale == 0.5 ** len(result.events)
    assert math.isfinite(result.best_held_out_nats)
    assert result.best_held_out_nats <= result.history[0].held_out_nats


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_the_gate_keeps_every_weight_of_the_bad_step(small, monkeypatch, averaging, fused):
    """Steps after a bad one, up to where the host looks, change no weight and no moment."""
    if not fused:
        monkeypatch.setattr("diffeo.training.optimisation.has_fused", lambda parameters: False)
    from diffeo.objectives import MaximumLikelihood
    from diffeo.training.optimisation import Optimisation
    from diffeo.training.plan import plan_for
    from diffeo.training.split import checked_rows

    config = TrainConfig(max_steps=100, batch_size=32, averaging=averaging)
    flow = fragile("activation", small(batch_norm=False))
    train, _ = checked_rows(flow, data(), None, None, noise=0.0, seed=0)
    running = Optimisation(flow, MaximumLikelihood(), train, plan_for(200, config), config)
    assert running.gated == fused
    running.run(0, 4, lambda step: 1e-3)
    before = running.capture()
    flow.bijection.bijections[1].limit = 0.0
    losses, _ = running.run(4, 8, lambda step: 1e-3)
    after = running.capture()
    assert not losses.isfinite().any()
    for part in ("weights", "optimizer"):
        one, two = getattr(before, part), getattr(after, part)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_layers_are_named_as_verify_names_them(small):
    flow = fragile("activation", small())
    assert "1: Fragile" in [name for name, _ in layers_of(flow.bijection)]


def test_a_gradient_whose_norm_overflows_names_the_least_likely_row(small):
    flow = small(batch_norm=False)
    with pytest.raises(TrainingError, match=r"norm of the gradient for training row x\[17\]"):
        fit(flow, data(outlier=1e12), validation=None, config=TrainConfig(max_steps=60, max_bad_steps=2))


def test_a_row_too_far_for_the_flow_is_named(small):
    with pytest.raises(TrainingError, match=r"log-density of the base for training row x\[17\]"):
        fit(small(), data(outlier=1e30), validation=None, config=TrainConfig(max_steps=60, max_bad_steps=2))
