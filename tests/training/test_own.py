"""A flow for loops of one's own: what the kernels compute, and its gradients, are the flow's."""

from __future__ import annotations

import copy

import pytest
import torch

from diffeo import accelerate
from diffeo.bijections import Autoregressive, Chain, Coupling, Identity, set_memory
from diffeo.errors import ConfigError
from diffeo.flows import MAF, NSF, SOSPF, Flow, Glow, RealNVP
from diffeo.kernels.native import has_bfloat16, library

COMPILED = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")
MAKERS = {
    "affine couplings": lambda **given: RealNVP(3, couplings=4, hidden=(32,), **given),
    "spline couplings": lambda **given: NSF(3, transforms=3, hidden=(32,), structure="coupling", **given),
    "spline autoregressive": lambda **given: NSF(3, transforms=2, hidden=(32,), **given),
    "with layers of other kinds": lambda **given: Glow(3, hidden=(32,), **given),
    "masked, normalised": lambda **given: MAF(3, transforms=3, hidden=(32,), **given),
}


def rows(n=64, width=3, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def made(name, context=0):
    torch.manual_seed(1)
    flow = MAKERS[name](context=context)
    flow.initialise(rows(256, seed=3), rows(256, context, seed=4) if context else None)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return flow.train()


def loss_of(flow, x, context):
    return -(flow.log_prob(x, context) * torch.linspace(0.5, 1.5, len(x))).mean()


@COMPILED
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("name", list(MAKERS))
def test_the_gradients_are_those_of_the_flow_in_float64(name, context):
    flow = made(name, context).eval()
    fast = accelerate(flow)
    assert fast is not flow
    given = rows(seed=5).requires_grad_(), rows(width=context, seed=6).requires_grad_() if context else None
    loss_of(fast, *given).backward()
    exact = copy.deepcopy(flow).double()
    wide = [None if v is None else v.detach().double().requires_grad_() for v in given]
    loss_of(exact, *wide).backward()
    for fine, coarse in zip(exact.parameters(), flow.parameters(), strict=True):
        assert coarse.grad is not None
        torch.testing.assert_close(coarse.grad.double(), fine.grad, rtol=1e-4, atol=1e-5)
    for fine, coarse in zip(wide, given, strict=True):
        if coarse is not None:
            torch.testing.assert_close(coarse.grad.double(), fine.grad, rtol=1e-4, atol=1e-5)


@COMPILED
def test_a_loop_trains_the_flow_that_was_given():
    flow, other = made("spline couplings"), made("spline couplings")
    losses = []
    for trained, through in ((flow, accelerate(flow)), (other, other)):
        optimizer = torch.optim.Adam(trained.parameters(), lr=2e-3)
        losses.append([])
        for _ in range(15):
            optimizer.zero_grad()
            loss = loss_of(through, rows(), None)
            loss.backward()
            optimizer.step()
            losses[-1].append(float(loss.detach()))
    assert losses[0][-1] < losses[0][0] - 0.1
    # Few and small steps: more of them magnify what is rounded otherwise.
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert {id(p) for p in accelerate(flow).parameters()} == {id(p) for p in flow.parameters()}


def test_parts_keep_their_modes():
    flow = made("with layers of other kinds").train()
    frozen = flow.bijection.get_submodule("bijections.1").eval()
    before = [part.training for part in flow.modules()]
    accelerate(flow)
    assert [part.training for part in flow.modules()] == before
    assert not frozen.training


@COMPILED
def test_samples_have_gradients_too():
    flow = made("affine couplings").eval()
    for through in (flow, accelerate(flow)):
        torch.manual_seed(2)
        through.rsample((32,)).square().mean().backward()
    doubled = [p.grad for p in flow.parameters()]
    flow.zero_grad()
    torch.manual_seed(2)
    flow.rsample((32,)).square().mean().backward()
    for twice, p in zip(doubled, flow.parameters(), strict=True):
        torch.testing.assert_close(twice, 2 * p.grad, rtol=1e-4, atol=1e-5)


@COMPILED
def test_constant_memory_is_kept():
    flow = made("affine couplings")
    plain, recovered = [], []
    for grads, memory in ((plain, "full"), (recovered, "constant")):
        set_memory(flow, memory)
        flow.zero_grad()
        loss_of(accelerate(flow), rows(), None).backward()
        grads += [p.grad.clone() for p in flow.parameters()]
    for one, other in zip(plain, recovered, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@COMPILED
def test_a_second_derivative_says_so():
    fast, x = accelerate(made("affine couplings")), rows().requires_grad_()
    parameters = list(fast.parameters())
    with pytest.raises(RuntimeError, match="second derivatives"):
        torch.autograd.grad(fast.log_prob(x).sum(), x, create_graph=True)
    for memory in ("full", "constant"):
        set_memory(fast, memory)
        with pytest.raises(RuntimeError, match="second derivatives"):
            torch.autograd.grad(fast.log_prob(x).sum(), parameters, create_graph=True)


@COMPILED
@pytest.mark.parametrize("memory", ["full", "constant"])
def test_several_gradients_in_one_pass_say_so(memory):
    fast, x = set_memory(accelerate(made("affine couplings")), memory), rows()
    with pytest.raises(RuntimeError, match="is_grads_batched"):
        torch.autograd.functional.jacobian(lambda x: fast.encode(x).sum(0), x, vectorize=True)


@COMPILED
@pytest.mark.parametrize("name", ["affine couplings", "spline autoregressive"])
def test_what_is_cast_or_replaced_afterwards_is_computed_by_torch(name):
    flow, x = made(name).eval(), rows()
    fast = accelerate(flow)
    flow.double()
    wide = x.double()
    torch.testing.assert_close(fast.log_prob(wide), flow.log_prob(wide), rtol=1e-12, atol=1e-12)
    flow.float()
    torch.testing.assert_close(fast.log_prob(x), flow.log_prob(x), rtol=1e-4, atol=1e-4)
    assigned = {key: 1.5 * value for key, value in flow.state_dict().items() if value.is_floating_point()}
    flow.load_state_dict({**flow.state_dict(), **assigned}, assign=True)
    torch.testing.assert_close(fast.log_prob(x), flow.log_prob(x), rtol=1e-4, atol=1e-4)


@COMPILED
def test_functional_calls_and_transforms_are_computed_by_torch():
    flow, x = made("spline couplings").eval(), rows()
    fast = accelerate(flow)
    found = torch.func.vmap(torch.func.grad(lambda row: fast.log_prob(row)))(x)
    wanted = torch.func.vmap(torch.func.grad(lambda row: flow.log_prob(row)))(x)
    torch.testing.assert_close(found, wanted)

    def density(which, scale):
        held = {name: scale * p for name, p in which.named_parameters()}
        return torch.func.functional_call(Scored(which), {f"flow.{n}": p for n, p in held.items()}, (x,))

    for scale in (1.0, 1.3):
        torch.testing.assert_close(density(fast, scale), density(flow, scale), rtol=1e-4, atol=1e-4)


class Scored(torch.nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x):
        return self.flow.log_prob(x)


@COMPILED
@pytest.mark.parametrize("memory", ["full", "constant"])
@pytest.mark.parametrize("name", ["affine couplings", "spline autoregressive"])
def test_a_layer_that_is_there_more_than_once_is_computed_as_often(name, memory):
    flow = made(name)
    layer = next(p for p in flow.bijection.modules() if isinstance(p, Autoregressive | Coupling))
    flow = Flow(flow.base, Chain(layer, layer, Identity(), layer, memory=memory)).eval()
    fast = accelerate(flow)
    loss_of(fast, rows(), None).backward()
    found = [p.grad.clone() for p in flow.parameters()]
    flow.zero_grad()
    loss_of(flow, rows(), None).backward()
    for one, p in zip(found, flow.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-3, atol=1e-4)
    recorded = flow.log_prob(rows()).detach()
    torch.testing.assert_close(fast.log_prob(rows()).detach(), recorded, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(flow.log_prob(rows()), recorded, rtol=1e-4, atol=1e-4)
        there, _ = flow.bijection(rows())
        back, _ = flow.bijection.inverse(there)
    torch.testing.assert_close(flow.decode(rows()), there, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back, rows(), rtol=1e-3, atol=1e-3)


@COMPILED
def test_a_copy_says_what_to_copy():
    with pytest.raises(ConfigError, match="accelerate the copy"):
        copy.deepcopy(accelerate(made("affine couplings")))


@pytest.mark.skipif(not (library() and has_bfloat16()), reason="no products of bfloat16 here")
def test_products_in_bfloat16_are_near():
    torch.manual_seed(0)
    flow = RealNVP(3, couplings=4, hidden=(128, 128))
    fast, low = accelerate(flow), accelerate(flow, "bfloat16")
    torch.testing.assert_close(low.log_prob(rows()), fast.log_prob(rows()), rtol=0.05, atol=0.1)


def test_a_flow_that_kernels_know_nothing_of_is_returned_itself():
    for flow in (RealNVP(3).double(), SOSPF(3), Flow(RealNVP(3).base, Chain(Identity()))):
        assert accelerate(flow) is flow


@pytest.mark.parametrize(
    ("arguments", "named"), [((3,), "flow is a int"), ((None, "half"), "precision='half'")]
)
def test_bad_arguments_are_named(arguments, named):
    first, *others = arguments
    with pytest.raises(ConfigError, match=named):
        accelerate(RealNVP(3) if first is None else first, *others)
