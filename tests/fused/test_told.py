"""What the kernels know nothing of, or were not told of, is computed by torch."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from diffeo import TrainConfig, accelerate, fit
from diffeo.bijections import Autoregressive, Chain, Coupling, Inverse, Mask, set_memory
from diffeo.conditioners import MLP, MaskedMLP, ResidualMLP
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.kernels.native import library
from diffeo.laws import Affine, RationalQuadratic
from diffeo.registry import register

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")

X = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def coupling(flip=False, law=None, net=MLP, **given):
    law = law or Affine()
    return Coupling(law, net(2, 2, law.n_params, **given), Mask.halves(4, flip=flip))


def flow_of(*layers):
    flow = Flow(StandardNormal(4), layers[0] if isinstance(layers[0], Chain) else Chain(*layers)).eval()
    return stirred(flow)


def stirred(flow):
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=draws))
    return flow


def by_torch(flow, x=X, context=None):
    """Return what torch computes layer by layer: gradients are recorded."""
    value = flow.log_prob(x, context)
    assert value.requires_grad
    return value.detach()


def agrees(flow, *through, x=X, context=None):
    """Return whether scores without gradients, and of accelerated flows, are torch's."""
    expected = by_torch(flow, x, context)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(x, context), expected, rtol=1e-4, atol=1e-4)
    for fast in (accelerate(flow), *through):
        torch.testing.assert_close(fast.log_prob(x, context), expected, rtol=1e-4, atol=1e-4)
    return expected


@pytest.mark.parametrize("memory", ["full", "constant"])
@pytest.mark.parametrize("law", [Affine(), RationalQuadratic(bins=4)], ids=["affine", "spline"])
def test_what_torch_and_kernels_compute_by_turns_is_in_order_in_memory(law, memory):
    own = Autoregressive(law, MaskedMLP(4, law.n_params))
    flow = flow_of(coupling(law=law), own, coupling(law=law), coupling(flip=True, law=law))
    set_memory(flow, memory)
    z = X.clone().requires_grad_()
    expected = flow.decode(z)
    ((expected**3).sum()).backward()
    slopes, z.grad = z.grad, None
    weights = [p.grad for p in flow.parameters()]
    flow.zero_grad()
    found = accelerate(flow).decode(z)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    ((found**3).sum()).backward()
    torch.testing.assert_close(z.grad, slopes, rtol=1e-3, atol=1e-3)
    for p, g in zip(flow.parameters(), weights, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=2e-3, atol=2e-3 * float(g.abs().max()))


class Embedded(Chain):
    """A chain that gives its layers the context as a network sees it."""

    def __init__(self, net, *layers):
        super().__init__(*layers)
        self.net = net

    def forward(self, z, context=None):
        return super().forward(z, self.net(context))

    def inverse(self, x, context=None):
        return super().inverse(x, self.net(context))


class Doubled(Inverse):
    """The inverse of a map of twice the value."""

    def forward(self, z, context=None):
        x, log_det = super().forward(2 * z, context)
        return x, log_det + z.shape[-1] * torch.log(torch.tensor(2.0))

    def inverse(self, x, context=None):
        z, log_det = super().inverse(x, context)
        return z / 2, log_det - x.shape[-1] * torch.log(torch.tensor(2.0))


@pytest.mark.parametrize("memory", ["full", "constant"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_chain_with_passes_of_its_own_is_computed_by_them(nested, memory):
    context = torch.randn(8, 2, generator=torch.Generator().manual_seed(3))
    chain = Embedded(nn.Linear(2, 2), coupling(context=2), coupling(flip=True, context=2))
    flow = flow_of(Chain(coupling(), chain, coupling(flip=True)) if nested else chain)
    expected = by_torch(flow, context=context)
    set_memory(flow, memory)
    torch.testing.assert_close(agrees(flow, context=context), expected, rtol=1e-4, atol=1e-4)
    before = chain.net.weight.detach().clone()
    config = TrainConfig(max_steps=3, batch_size=8)
    fit(flow, X.repeat(2, 1), context=context.repeat(2, 1), validation=None, config=config, progress=False)
    assert not torch.equal(before, chain.net.weight)


@pytest.mark.parametrize("memory", ["full", "constant"])
def test_an_inverse_with_passes_of_its_own_is_computed_by_them(memory):
    flow = flow_of(coupling(), Doubled(coupling(flip=True)), coupling())
    expected = by_torch(flow)
    set_memory(flow, memory)
    torch.testing.assert_close(agrees(flow), expected, rtol=1e-4, atol=1e-4)


@register("mylab.Half")
@dataclasses.dataclass(frozen=True)
class Half(Affine):
    """An affine law of half the parameters."""

    def forward(self, u, theta):
        return super().forward(u, theta * 0.5)

    def inverse(self, v, theta):
        return super().inverse(v, theta * 0.5)


def test_a_law_that_is_made_of_another_is_its_own():
    assert Half().compiled() is None
    agrees(flow_of(coupling(law=Half()), coupling(flip=True)))


class Gate(nn.Module):
    """σ(inner(h)) h: not the residual block that its attribute looks like."""

    def __init__(self, width):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(width, width))

    def forward(self, h):
        return torch.sigmoid(self.inner(h)) * h


@pytest.mark.parametrize(
    "activation",
    [nn.LeakyReLU(0.5), nn.ELU(0.3), nn.GELU(approximate="tanh"), Gate(16)],
    ids=["leaky relu", "elu", "gelu", "gate"],
)
def test_an_activation_is_the_one_that_is_there(activation):
    flow = flow_of(coupling(hidden=(16,)), coupling(flip=True))
    flow.bijection.bijections[0].conditioner.layers[1] = activation
    agrees(flow)


class Alone(nn.Module):
    """A network that is no sequence."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 4)

    def forward(self, x):
        return self.line(x)


def test_a_network_of_another_kind_is_called():
    flow = flow_of(coupling(), coupling(flip=True))
    flow.bijection.bijections[0].conditioner.layers = Alone()
    agrees(flow)


def test_a_layer_without_a_bias_is_computed():
    flow = flow_of(coupling(), coupling(flip=True))
    flow.bijection.bijections[0].conditioner.layers[0].bias = None
    agrees(flow)


def test_a_parametrised_direct_connection_is_computed():
    layer = Autoregressive(Affine(), MaskedMLP(4, 2, hidden=(1,)))
    nn.utils.parametrizations.weight_norm(layer.conditioner.direct)
    agrees(flow_of(layer))


def tripled(module, given, found):
    return 3 * found


HEARD = {
    "a block's network": lambda flow: flow.bijection.bijections[0].conditioner.layers[1].inner,
    "direct connections": lambda flow: flow.bijection.bijections[1].conditioner.direct,
    "a conditioner": lambda flow: flow.bijection.bijections[0].conditioner,
    "a linear layer": lambda flow: flow.bijection.bijections[1].conditioner.layers[0],
}


@pytest.mark.parametrize("place", list(HEARD))
def test_hooks_anywhere_are_called(place):
    masked = Autoregressive(Affine(), MaskedMLP(4, 2, hidden=(1,)))
    flow = flow_of(coupling(net=ResidualMLP, width=8), masked)
    earlier, before = accelerate(flow), by_torch(flow)
    hook = HEARD[place](flow).register_forward_hook(tripled)
    assert float((agrees(flow, earlier) - before).abs().max()) > 0.01
    hook.remove()
    torch.testing.assert_close(agrees(flow, earlier), before)


def test_hooks_of_all_modules_are_called():
    flow = flow_of(coupling(hidden=(16,)), coupling(flip=True, hidden=(16,)))
    earlier, before = accelerate(flow), by_torch(flow)
    calls = []

    def counted(module, given, found):
        calls.append(module)
        return 2 * found if isinstance(module, nn.Linear) else None

    hook = nn.modules.module.register_module_forward_hook(counted)
    try:
        found = agrees(flow, earlier)
    finally:
        hook.remove()
    assert float((found - before).abs().max()) > 0.01


def test_methods_of_an_object_are_its_own():
    flow = flow_of(coupling(), coupling(flip=True))
    earlier, before = accelerate(flow), by_torch(flow)
    conditioner = flow.bijection.bijections[0].conditioner
    usual = conditioner.forward
    conditioner.forward = lambda x, context=None: 0.5 * usual(x, context)
    assert float((agrees(flow, earlier) - before).abs().max()) > 0.01


CHANGES = {
    "a mask, in place": lambda flow: masked_layer(flow).mask.zero_(),
    "a conditioner": lambda flow: setattr(
        flow.bijection.bijections[0], "conditioner", stirred(MLP(2, 2, 2, hidden=(8,)))
    ),
    "a part of a network": lambda flow: flow.bijection.bijections[0].conditioner.layers.__setitem__(
        1, nn.Tanh()
    ),
    "a parameter": lambda flow: setattr(
        flow.bijection.bijections[0].conditioner.layers[0], "bias", nn.Parameter(torch.ones(16))
    ),
    "a law": lambda flow: setattr(flow.bijection.bijections[0], "law", Affine(bound=0.5)),
}


def masked_layer(flow):
    return flow.bijection.bijections[1].conditioner.layers[0]


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_is_changed_afterwards_is_seen(change):
    flow = flow_of(coupling(hidden=(16,)), Autoregressive(Affine(), MaskedMLP(4, 2, hidden=(16,))))
    earlier, before = accelerate(flow), by_torch(flow)
    agrees(flow, earlier)
    with torch.no_grad():
        CHANGES[change](flow)
    assert float((agrees(flow, earlier) - before).abs().max()) > 1e-3


def test_a_mask_that_was_moved_and_came_back_is_the_same():
    flow = flow_of(Autoregressive(Affine(), MaskedMLP(4, 2, hidden=(16,))))
    (fused,) = accelerate(flow).bijection.bijections
    layer = masked_layer(Flow(StandardNormal(4), Chain(coupling(), flow.bijection.bijections[0])))
    layer.mask = layer.mask.clone()
    assert fused.steps[0].current()
    layer.mask = ~layer.mask
    assert not fused.steps[0].current()


def test_a_layer_that_is_appended_again_is_scored_again():
    flow = flow_of(coupling(), coupling(flip=True))
    with torch.no_grad():
        before = flow.log_prob(X)
    flow.bijection.bijections.append(flow.bijection.bijections[0])
    assert float((agrees(flow) - before).abs().max()) > 0.01
