"""Adapters: a peer's flow keeps its numbers, its directions and its own density and sampler."""

import math

import pytest
import torch
import zuko
from nflows.distributions import StandardNormal as NflowsNormal
from nflows.flows import Flow as NflowsFlow
from nflows.flows import MaskedAutoregressiveFlow
from nflows.transforms import (
    CompositeTransform,
    InverseTransform,
    MaskedAffineAutoregressiveTransform,
    ReversePermutation,
)
from torch import nn

import diffeo
from diffeo.bijections.chain import layers_of
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import Flow
from diffeo.testing import peers

from .copying import shaken

MATHEMATICS = ("differentiable", "invertible", "determinant", "mass", "sampler")


def nflows_flow(context=None, embedding=None, **other):
    transforms = [
        MaskedAffineAutoregressiveTransform(2, 8, context_features=context, num_blocks=1),
        ReversePermutation(2),
        MaskedAffineAutoregressiveTransform(2, 8, context_features=context, num_blocks=1),
    ]
    return other.get("make", NflowsFlow)(CompositeTransform(transforms), NflowsNormal([2]), embedding)


def rows(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("context", [0, 3])
@torch.no_grad()
def test_a_flow_of_zuko_keeps_its_numbers(context):
    peer = shaken(zuko.flows.NSF(2, context, transforms=2, hidden_features=(8,)))
    own = peers.from_zuko(peer, context)
    x, c = rows(5, 2), rows(5, context) if context else None
    assert own.dtype == torch.float64
    assert own.event_shape == (2,)
    assert own.context_features == context
    assert torch.equal(own.encode(x, c), peer(c).transform(x))
    assert torch.equal(own.log_prob(x, c), peer(c).log_prob(x))
    torch.testing.assert_close(own.decode(own.encode(x, c), c), x)
    # The base and the layers together say the same: none is turned round.
    z, log_det = own.bijection.inverse(x, c)
    torch.testing.assert_close(own.base.log_prob(z, c) + log_det, own.log_prob(x, c))
    for _, layer in reversed(layers_of(own.bijection)):
        x, part = layer.inverse(x, c)
        log_det = log_det - part
    torch.testing.assert_close(x, z)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("context", "embedding"), [(0, None), (3, None), (3, nn.Linear(3, 5))], ids=["none", "c", "embedded"]
)
@torch.no_grad()
def test_a_flow_of_nflows_keeps_its_numbers(context, embedding):
    inner = 5 if embedding else context
    peer = shaken(nflows_flow(inner or None, embedding))
    own = peers.from_nflows(peer, context)
    x, c = rows(5, 2), rows(5, context) if context else None
    assert own.context_features == context
    assert torch.equal(own.encode(x, c), peer.transform_to_noise(x, c))
    assert torch.equal(own.log_prob(x, c), peer.log_prob(x, c))
    torch.testing.assert_close(own.decode(own.encode(x, c), c), x)
    z, log_det = own.bijection.inverse(x, c)
    torch.testing.assert_close(own.base.log_prob(z, c) + log_det, own.log_prob(x, c))


@torch.no_grad()
def test_batches_of_any_shape_are_joined_and_parted():
    own = peers.from_nflows(shaken(nflows_flow(3)), 3)
    x, c = rows(6, 2), rows(6, 3)
    wanted = own.log_prob(x, c)
    assert torch.equal(own.log_prob(x.reshape(2, 3, 2), c.reshape(2, 3, 3)), wanted.reshape(2, 3))
    assert own.log_prob(x[0], c[0]).shape == ()
    assert own.log_prob(x[:0], c[:0]).shape == (0,)
    assert own.log_prob(x[:, None], c).shape == (6, 6)
    torch.testing.assert_close(own.log_prob(x[:, None], c).diagonal(), wanted)


@pytest.mark.parametrize("library", ["zuko", "nflows"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_the_peers_own_and_follow_the_generator(library, dtype):
    if library == "zuko":
        own = peers.from_zuko(zuko.flows.MAF(2, 3, transforms=2, hidden_features=(8,)), 3)
    else:
        own = peers.from_nflows(nflows_flow(3), 3)
    own, c = own.to(dtype).eval(), rows(4, 3).to(dtype)
    before = torch.random.get_rng_state()
    x, log_prob = own.sample_and_log_prob((5,), c, generator=torch.Generator().manual_seed(1))
    again = own.sample((5,), c, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert x.shape == (5, 4, 2)
    assert x.dtype == dtype
    assert torch.equal(x, again)
    torch.testing.assert_close(log_prob, own.log_prob(x, c), rtol=1e-4, atol=1e-4)
    noise = own.base.sample((5, 4), c, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(own.decode(noise, c), x)


def test_making_an_adapter_leaves_the_random_state_alone():
    peer = zuko.flows.MAF(2, hidden_features=(8,))
    before = torch.random.get_rng_state()
    peers.from_zuko(peer)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("adapt", "module"),
    [
        (peers.from_zuko, zuko.flows.MAF(2, transforms=2, hidden_features=(8,))),
        (peers.from_nflows, MaskedAutoregressiveFlow(2, 8, 2, 1)),
    ],
    ids=["zuko", "nflows"],
)
def test_verify_finds_the_mathematics_of_a_sound_flow_sound(adapt, module):
    report = diffeo.verify(adapt(module))
    for requirement in MATHEMATICS:
        figures = report.requirements[requirement]
        assert all(figure.ok for figure in figures), report
        assert any(figure.tested for figure in figures), report


def test_verify_takes_transforms_by_themselves():
    for transform in (
        peers.from_zuko(zuko.flows.MaskedAutoregressiveTransform(3, hidden_features=(8,))),
        peers.from_nflows(InverseTransform(MaskedAffineAutoregressiveTransform(3, 8, num_blocks=1))),
    ):
        report = diffeo.verify(transform)
        assert all(figure.ok for name in MATHEMATICS[:3] for figure in report.requirements[name]), report


class Flipped(MaskedAffineAutoregressiveTransform):
    """A transform whose log-determinant has the wrong sign from data to noise."""

    def forward(self, inputs, context=None):
        z, log_det = super().forward(inputs, context)
        return z, -log_det


def test_a_flipped_log_determinant_is_caught_in_its_layer():
    transforms = [MaskedAffineAutoregressiveTransform(2, 8, num_blocks=1), Flipped(2, 8, num_blocks=1)]
    flow = shaken(NflowsFlow(CompositeTransform(transforms), NflowsNormal([2])))
    report = diffeo.verify(peers.from_nflows(flow))
    wrong = [figure for figure in report.requirements["determinant"] if not figure.ok]
    assert any("wrong sign" in figure.detail for figure in wrong), report
    assert {figure.layer for figure in wrong} == {"0: Flipped"}
    assert not report.requirements["mass"][0].ok


class WithoutDeterminant(NflowsFlow):
    """A flow whose own log_prob leaves the log-determinant out; its transform is right."""

    def _log_prob(self, inputs, context):
        noise, _ = self._transform(inputs, context)
        return self._distribution.log_prob(noise, context)


def test_a_log_prob_without_its_determinant_is_caught_by_the_mass_and_the_samples():
    report = diffeo.verify(peers.from_nflows(shaken(nflows_flow(make=WithoutDeterminant))))
    assert all(figure.ok for figure in report.requirements["determinant"]), report
    assert not report.requirements["mass"][0].ok
    assert not all(figure.ok for figure in report.requirements["sampler"])


def test_what_is_no_module_is_refused():
    with pytest.raises(ConfigError, match=r"not zuko\.flows\.NSF\(2\)\(\)"):
        peers.from_zuko(zuko.flows.NSF(2, hidden_features=(8,))())
    with pytest.raises(ConfigError, match="context=-1"):
        peers.from_nflows(nflows_flow(), context=-1)
    with pytest.raises(ShapeError, match="context is missing"):
        peers.from_nflows(nflows_flow(3), 3).log_prob(torch.zeros(2))


# -- libraries that the tests do without: their calls, as they document them ------------------------


class Halved(nn.Module):
    """A layer as in normflows: noise to data when called; a log-determinant that is one number."""

    def forward(self, z, context=None):
        return 2 * z, torch.tensor(2 * math.log(2.0), dtype=z.dtype)

    def inverse(self, x, context=None):
        return x / 2, torch.tensor(-2 * math.log(2.0), dtype=x.dtype)


class Gaussian(nn.Module):
    """A base as in normflows: a call gives draws and their log-density."""

    def __init__(self):
        super().__init__()
        self.register_buffer("loc", torch.zeros(2))

    def forward(self, count):
        z = torch.randn(count, 2, dtype=self.loc.dtype)
        return z, self.log_prob(z)

    def log_prob(self, z):
        return torch.distributions.Normal(self.loc, 1.0).log_prob(z).sum(-1)


class Normalizing(nn.Module):
    """A flow as in normflows."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.q0, self.flows, self.sign = Gaussian(), nn.ModuleList([Halved(), Halved()]), sign

    def forward_and_log_det(self, z):
        return 4 * z, z.new_full((len(z),), 4 * math.log(2.0))

    def inverse_and_log_det(self, x):
        return x / 4, x.new_full((len(x),), self.sign * -4 * math.log(2.0))

    def log_prob(self, x):
        z, log_det = self.inverse_and_log_det(x)
        return self.q0.log_prob(z) + log_det

    def sample(self, count):
        z, log_q = self.q0(count)
        return 4 * z, log_q - 4 * math.log(2.0)


def test_calls_as_in_normflows():
    own = peers.from_normflows(Normalizing())
    assert [name for name, _ in layers_of(own.bijection)] == ["0: Halved", "1: Halved"]
    assert torch.equal(own.decode(torch.ones(2)), torch.full((2,), 4.0))
    report = diffeo.verify(own)
    assert report.ok, report
    assert not diffeo.verify(peers.from_normflows(Normalizing(sign=-1.0))).requirements["mass"][0].ok


class Invertible(nn.Module):
    """A module as in FrEIA: lists of values, ``rev`` for noise to data, ``dims_in`` lists shapes."""

    def __init__(self, factor=2.0, sign=1.0):
        super().__init__()
        self.dims_in, self.factor, self.sign = [(2,)], factor, sign

    def forward(self, x_or_z, c=None, rev=False, jac=True):
        scale = self.factor if c is None else self.factor * c[0][:, :1].exp()
        log_det = 2 * torch.as_tensor(scale, dtype=x_or_z[0].dtype).log().reshape(-1)
        if rev:
            return [x_or_z[0] / scale], -log_det
        return [x_or_z[0] * scale], self.sign * log_det


class Sequence(Invertible):
    """A sequence as in FrEIA: one tensor comes back."""

    def __init__(self, *modules):
        super().__init__()
        self.module_list, self.shapes = nn.ModuleList(modules), [(2,)]
        self.conditions = [None for _ in modules]

    def forward(self, x_or_z, rev=False, jac=True):
        total = 0.0
        for module in reversed(self.module_list) if rev else self.module_list:
            x_or_z, log_det = module(x_or_z, rev=rev, jac=jac)
            total = total + log_det
        return x_or_z[0], total


def test_calls_as_in_freia():
    own = peers.from_freia(Sequence(Invertible(), Invertible(4.0)))
    assert own.event_shape == (2,)
    assert torch.equal(own(torch.full((2,), 8.0))[0], torch.ones(2))  # noise to data divides
    flow = Flow(StandardNormal(2), own)
    report = diffeo.verify(flow)
    assert report.ok, report
    wrong = diffeo.verify(Flow(StandardNormal(2), peers.from_freia(Sequence(Invertible(sign=-1.0)))))
    assert not wrong.requirements["mass"][0].ok


def test_conditions_as_in_freia():
    own = peers.from_freia(Invertible(), context=1)
    z, log_det = own.inverse(torch.ones(3, 2), torch.zeros(3, 1))
    assert torch.equal(z, torch.full((3, 2), 2.0))
    torch.testing.assert_close(log_det, torch.full((3,), 2 * math.log(2.0)))
    assert diffeo.verify(own).ok
