"""A batch in parts: the same steps, in less memory."""

from dataclasses import replace

import pytest
import torch

from diffeo import TrainConfig, fit
from diffeo.errors import ConfigError
from diffeo.flows import RealNVP
from diffeo.objectives import MaximumLikelihood

CONFIG = TrainConfig(max_steps=10, batch_size=32, averaging=0.0, evaluate_every=5, compile="off")


def fitted(accumulate, precision="float64"):
    torch.manual_seed(0)
    flow = RealNVP(3, couplings=2, hidden=(8,), batch_norm=False)
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)).cumsum(-1)
    config = replace(CONFIG, accumulate=accumulate, precision=precision)
    return flow, fit(flow, x, config=config)


@pytest.mark.parametrize("parts", [2, 5, 100])
def test_parts_of_a_batch_make_the_same_steps(parts):
    whole, result = fitted(1)
    divided, other = fitted(parts)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(divided.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    for one, two in zip(result.history[1:], other.history[1:], strict=True):
        assert one.train_nats == pytest.approx(two.train_nats, rel=1e-9)


def test_an_objective_is_shown_the_parts():
    seen = []

    class Spy(MaximumLikelihood):
        def loss(self, flow, batch):
            seen.append(len(batch.x))
            return super().loss(flow, batch)

    flow = RealNVP(3, couplings=2, hidden=(8,), batch_norm=False)
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    config = replace(CONFIG, max_steps=1, accumulate=3, batch_size=30)
    fit(flow, x, validation=None, config=config, objective=Spy())
    assert seen == [9, 9, 7]
    assert sum(seen) == 25


def test_it_is_a_whole_number():
    with pytest.raises(ConfigError, match="accumulate=0 must be a whole number of at least 1"):
        TrainConfig(accumulate=0)
