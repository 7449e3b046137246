"""Wrapped torch distributions: their density, their support, their way through a file."""

import pytest
import torch
from torch import distributions as td

from diffeo import load
from diffeo.bijections import Identity
from diffeo.distributions import Wrapped
from diffeo.errors import ConfigError
from diffeo.flows import Flow

ONE = torch.ones(3)
DISTRIBUTIONS = {
    # Arguments whose names do not stand in alphabetical order.
    "beta": lambda: td.Beta(ONE * 2, ONE * 5),
    "uniform": lambda: td.Uniform(-ONE, 3 * ONE),
    "pareto": lambda: td.Pareto(ONE, 2 * ONE),
    "student": lambda: td.StudentT(3 * ONE, ONE, 2 * ONE),
    "laplace": lambda: td.Laplace(ONE, 2 * ONE),
    "gamma": lambda: td.Gamma(2 * ONE, ONE),
    "full normal": lambda: td.MultivariateNormal(ONE, torch.eye(3) + 1),
    "low rank normal": lambda: td.LowRankMultivariateNormal(ONE, ONE[:, None], ONE),
    "dirichlet": lambda: td.Dirichlet(2 * ONE),
    "mixture": lambda: td.MixtureSameFamily(td.Categorical(ONE), td.Normal(ONE.cumsum(0), 0.5)),
    "vector mixture": lambda: td.MixtureSameFamily(
        td.Categorical(ONE[:2]), td.Independent(td.Normal(torch.stack([ONE, -ONE]), 0.5), 1)
    ),
    "log-normal": lambda: td.LogNormal(ONE, 0.3),
    "transformed": lambda: td.TransformedDistribution(
        td.Normal(ONE, 1.0), [td.SigmoidTransform(), td.AffineTransform(1.0, 2.0)]
    ),
    "scalar": lambda: td.Normal(1.0, 2.0),
}


def test_a_mixture_of_scalars_is_one_feature():
    assert Wrapped(DISTRIBUTIONS["mixture"]()).event_shape == (1,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_density_and_file(name, dtype, tmp_path):
    theirs = DISTRIBUTIONS[name]()
    base = Wrapped(theirs)
    flow = Flow(base, Identity()).to(dtype)
    x = flow.sample((20,), generator=torch.Generator().manual_seed(0))
    value = x.float().squeeze(-1) if not theirs.batch_shape + theirs.event_shape else x.float()
    wanted = theirs.log_prob(value)
    wanted = wanted.sum(-1) if wanted.ndim > 1 else wanted
    torch.testing.assert_close(flow.log_prob(x).float(), wanted, rtol=1e-4, atol=1e-4)
    flow.save(tmp_path / "flow.safetensors")
    loaded = load(tmp_path / "flow.safetensors")
    assert loaded.dtype == dtype
    assert torch.equal(loaded.log_prob(x), flow.log_prob(x))


def test_out_of_the_support_the_density_is_zero():
    base = Wrapped(td.Gamma(2 * ONE, ONE))
    x = torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [torch.nan, 1.0, 1.0], [torch.inf, 1.0, 1.0]])
    log_prob = base.log_prob(x)
    assert log_prob[0].isfinite()
    assert log_prob[1].isneginf()
    assert log_prob[2].isnan()
    assert log_prob[3].isneginf()


def test_a_far_value_does_not_poison_gradients():
    base = Wrapped(DISTRIBUTIONS["full normal"]())
    scale = torch.ones(3, requires_grad=True)
    x = torch.ones(2, 3)
    x[0, 1] = 3e38
    log_prob = base.log_prob(x * scale)
    torch.where(torch.tensor([True, False]), 0.0, log_prob).sum().backward()
    assert scale.grad.isfinite().all()


def test_a_flow_without_parameters_keeps_its_precision_in_a_file(tmp_path):
    from diffeo.distributions import StandardNormal

    flow = Flow(StandardNormal(2), Identity()).double()
    flow.save(tmp_path / "flow.safetensors")
    assert load(tmp_path / "flow.safetensors").dtype == torch.float64


def test_it_follows_the_module():
    base = Wrapped(DISTRIBUTIONS["vector mixture"]()).double()
    assert base.sample((2,)).dtype == torch.float64
    assert base.log_prob(torch.zeros(4, 3, dtype=torch.float64)).dtype == torch.float64


def test_what_is_refused():
    with pytest.raises(ConfigError, match="discrete"):
        Wrapped(td.Poisson(ONE))
    with pytest.raises(ConfigError, match=r"expected a torch\.distributions\.Distribution"):
        Wrapped(3.0)
    spread = {"tensor": [[0.0]] * 200, "dtype": "float32"}
    along = {"tensor": [[1.0] * 200], "dtype": "float32"}
    with pytest.raises(ConfigError, match="far larger than its parameters"):
        Wrapped({"class": "Normal", "args": {"loc": spread, "scale": along}})


class Bell(td.Normal):
    """A class that torch does not ship."""


def test_a_users_own_class_works_but_is_not_saved(tmp_path):
    flow = Flow(Wrapped(Bell(ONE, ONE)), Identity())
    torch.testing.assert_close(flow.log_prob(ONE), td.Normal(ONE, ONE).log_prob(ONE).sum())
    with pytest.raises(ConfigError, match="cannot be saved"):
        flow.save(tmp_path / "flow.safetensors")
    assert not list(tmp_path.iterdir())


def test_no_rows():
    assert Wrapped(DISTRIBUTIONS["student"]()).log_prob(torch.zeros(2, 0, 3)).shape == (2, 0)
