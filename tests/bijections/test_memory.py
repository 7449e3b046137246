"""Constant memory: the same values, the same gradients, and one layer's activations."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import diffeo
from diffeo.bijections import (
    LU,
    QR,
    SVD,
    ActNorm,
    Affine,
    Autoregressive,
    BatchNorm,
    Bijection,
    Chain,
    Coupling,
    Inverse,
    InvertibleConv1x1,
    Mask,
    Permutation,
    Planar,
    Scale,
    Split,
    set_memory,
)
from diffeo.bijections.recovery import _Back
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.flows import NICE, RealNVP
from diffeo.laws import Additive, Inverted, RationalQuadratic, SumOfSquares
from diffeo.laws import Affine as AffineLaw
from diffeo.registry import to_spec
from diffeo.testing.stressed import stress

D, ROWS = 6, 64


def couplings(law: Any, count: int = 4, context: int = 0, dropout: float = 0.0, features: int = D) -> Chain:
    """Return affine couplings, say, whose parts change roles."""
    layers: list[Bijection] = []
    for k in range(count):
        mask = Mask.alternating(features, flip=k % 2 == 1)
        sizes = mask.n_passed, mask.n_moved, law.n_params
        layers.append(Coupling(law, MLP(*sizes, hidden=(16,), context=context, dropout=dropout), mask))
    return Chain(*layers)


def autoregressive(law: Any) -> Chain:
    first, second = (
        Autoregressive(law, MaskedMLP(D, law.n_params, hidden=(16,), order=o))
        for o in ("ascending", "descending")
    )
    return Chain(first, ActNorm(D), Inverse(second))


def linear() -> Chain:
    return Chain(
        couplings(AffineLaw()),
        LU(D, "reverse"),
        ActNorm(D),
        QR(D),
        SVD(D),
        Permutation.reverse(D),
        Scale(D),
    )


def mixed() -> Chain:
    return Chain(
        Planar(D), Split(D, 3, Chain(Affine(3), LU(3))), Inverse(Chain(Affine(D), LU(D))), Affine(D)
    )


CHAINS: dict[str, Callable[[], Chain]] = {
    "additive": lambda: couplings(Additive()),
    "affine": lambda: couplings(AffineLaw()),
    "spline": lambda: couplings(RationalQuadratic()),
    "searched": lambda: couplings(SumOfSquares(), 2),
    "searched the other way": lambda: couplings(Inverted(SumOfSquares()), 2),
    "autoregressive": lambda: autoregressive(AffineLaw()),
    "linear": linear,
    "mixed": mixed,
}


def outcome(chain: nn.Module, x: Tensor, context: Tensor | None = None, *, inverse: bool) -> list[Tensor]:
    """Return value, log-determinant, and a loss's gradients towards value, context and parameters."""
    leaf = x.detach().clone().requires_grad_()
    cond = None if context is None else context.detach().clone().requires_grad_()
    assert isinstance(chain, Bijection)
    value, log_det = chain.inverse(leaf, cond) if inverse else chain(leaf, cond)
    loss = (value.square().flatten(-chain.event_ndim).sum(-1) / 2 - log_det).mean()
    leaves = [leaf, *([] if cond is None else [cond]), *chain.parameters()]
    return [value.detach(), log_det.detach(), *torch.autograd.grad(loss, leaves)]


def both(chain: Chain, x: Tensor, context: Tensor | None = None, *, inverse: bool) -> float:
    """Return the largest relative difference that constant memory makes to a gradient."""
    plain = outcome(set_memory(chain, "full"), x, context, inverse=inverse)
    found = outcome(set_memory(chain, "constant"), x, context, inverse=inverse)
    assert torch.equal(plain[0], found[0])
    torch.testing.assert_close(plain[1], found[1])  # nested chains sum in another order
    return furthest(plain, found)


def furthest(plain: list[Tensor], found: list[Tensor]) -> float:
    size = max(float(g.norm()) for g in plain[2:])
    return max(
        float((a - b).norm() / max(float(a.norm()), 1e-3 * size))
        for a, b in zip(plain[2:], found[2:], strict=True)
    )


def within(chain: Chain, x: Tensor, *, inverse: bool) -> float:
    """Return 1e-5, or what float32 with full memory is itself off from float64, if that is more."""
    exact = outcome(copy.deepcopy(chain).double(), x.double(), inverse=inverse)
    plain = outcome(set_memory(chain, "full"), x, inverse=inverse)
    return max(1e-5, furthest([g.float() for g in exact], plain))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows where a run's inputs did not come back and were computed again."""
    calls: list[int] = []
    inner = _Back._settled

    def counted(self: _Back, output: Tensor) -> dict[int, Tensor]:
        calls.append(len(self.steps))
        return inner(self, output)

    monkeypatch.setattr(_Back, "_settled", counted)
    return calls


@pytest.mark.parametrize("inverse", [True, False], ids=["inverse", "forward"])
@pytest.mark.parametrize("gain", [1.0, 4.0])
@pytest.mark.parametrize("name", list(CHAINS))
def test_gradients_are_those_of_full_memory(name: str, gain: float, inverse: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, D)
    chain = stress(CHAINS[name](), gain, x=x)
    assert both(copy.deepcopy(chain).double(), x.double(), inverse=inverse) < 1e-10
    assert both(chain, x, inverse=inverse) < within(chain, x, inverse=inverse)


@pytest.mark.parametrize("inverse", [True, False], ids=["inverse", "forward"])
def test_images(inverse: bool) -> None:
    torch.manual_seed(0)
    shape, x = (2, 4, 4), torch.randn(8, 2, 4, 4)
    chain = Chain(
        ActNorm(shape), InvertibleConv1x1(shape, "reverse"), Affine(shape), InvertibleConv1x1(shape)
    )
    chain = stress(chain, 1.0, x=x)
    assert both(copy.deepcopy(chain).double(), x.double(), inverse=inverse) < 1e-10
    assert both(chain, x, inverse=inverse) < within(chain, x, inverse=inverse)


@pytest.mark.parametrize("inverse", [True, False], ids=["inverse", "forward"])
@pytest.mark.parametrize("rows", [(ROWS,), (), (3, ROWS)], ids=["per row", "shared", "broadcast"])
def test_context_has_its_gradient(rows: tuple[int, ...], inverse: bool) -> None:
    torch.manual_seed(0)
    chain = stress(Chain(Affine(D), couplings(AffineLaw(), context=2)), 2.0).double()
    x, context = torch.randn(ROWS, D).double(), torch.randn(*rows, 2).double()
    assert both(chain, x, context, inverse=inverse) < 1e-10
    assert both(chain, x[:1], context, inverse=inverse) < 1e-10


def test_a_run_that_does_not_come_back_is_repeated(settled: list[int]) -> None:
    class Shifted(Bijection):
        """x = 10⁻⁶ z + 1: six digits of z are lost in float32."""

        def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return 1e-6 * z + 1, z.new_full(z.shape[:-1], -13.8)

        def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return (x - 1) * 1e6, x.new_full(x.shape[:-1], 13.8)

    torch.manual_seed(0)
    chain = stress(Chain(couplings(AffineLaw()), Shifted(), Affine(D)), 1.0)
    assert both(chain, torch.randn(ROWS, D), inverse=False) < 1e-5
    assert settled
    with pytest.MonkeyPatch.context() as patch:  # without the guard the gradients are wrong
        patch.setattr(_Back, "_wrong", lambda self, k, given: torch.zeros(1, dtype=torch.bool))
        assert both(chain, torch.randn(ROWS, D), inverse=False) > 1e-3


def test_what_is_ill_conditioned_is_no_further_off_than_full_memory_is(settled: list[int]) -> None:
    torch.manual_seed(0)
    chain, x = stress(couplings(RationalQuadratic(), 40), 4.0), torch.randn(ROWS, D)
    assert both(chain, x, inverse=True) < within(chain, x, inverse=True)
    assert settled


def test_well_conditioned_runs_are_not_repeated(settled: list[int]) -> None:
    torch.manual_seed(0)
    chain = stress(couplings(AffineLaw(0.1), 40), 0.3)
    assert both(chain, torch.randn(ROWS, D), inverse=True) < 1e-5
    assert not settled


@pytest.mark.parametrize("inverse", [True, False], ids=["inverse", "forward"])
@pytest.mark.parametrize("name", ["affine", "spline", "linear"])
@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), 1e30])
def test_a_hostile_row_changes_no_other(name: str, hostile: float, inverse: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, D)
    chain = set_memory(stress(CHAINS[name](), 1.0, x=x), "constant")

    def gradients(rows: Tensor) -> list[Tensor]:
        leaf = rows.clone().requires_grad_()
        value, log_det = chain.inverse(leaf) if inverse else chain(leaf)
        loss = (value.square().sum(-1) / 2 - log_det)[1:].sum()
        g, *rest = torch.autograd.grad(loss, [leaf, *chain.parameters()])
        return [g[1:], *rest]

    bad = x.clone()
    bad[0, 2] = hostile
    for clean, dirty in zip(gradients(x), gradients(bad), strict=True):
        assert torch.equal(clean, dirty)


def test_dropout_draws_the_same_again() -> None:
    chain = stress(couplings(AffineLaw(), dropout=0.4), 1.0).double().train()
    x, found = torch.randn(ROWS, D).double(), []
    for memory in ("full", "constant"):
        torch.manual_seed(7)
        found.append(outcome(set_memory(chain, memory), x, inverse=True))
        after = torch.get_rng_state()
    torch.manual_seed(7)
    chain.inverse(x)
    assert torch.equal(after, torch.get_rng_state())  # the way back leaves the generator as it was
    assert furthest(*found) < 1e-10


def test_statistics_move_once() -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, D).double()
    flow = stress(RealNVP(D, couplings=4, hidden=(16,)), 1.0).double().train()
    flows = [flow, set_memory(copy.deepcopy(flow), "constant")]
    plain, found = (outcome(flow.bijection, x, inverse=True) for flow in flows)
    assert furthest(plain, found) < 1e-10
    for (name, a), (_, b) in zip(flows[0].named_buffers(), flows[1].named_buffers(), strict=True):
        assert torch.equal(a, b), name
    assert isinstance(flows[0].bijection, Chain)
    assert not torch.equal(flows[0].bijection.bijections[0].get_buffer("mean"), torch.zeros(D).double())
    assert isinstance(flows[0].bijection.bijections[0], BatchNorm)


def test_second_derivatives_are_right() -> None:
    torch.manual_seed(0)
    chain = set_memory(stress(couplings(AffineLaw(), 3, features=3), 1.0).double(), "constant")
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    weights = [p for p in chain.parameters() if p.numel() < 20]
    assert torch.autograd.gradgradcheck(lambda x, *_: chain.inverse(x), (x, *weights))


def test_functional_call_transforms_and_compilation_have_the_gradients_of_their_tensors() -> None:
    torch.manual_seed(0)
    flow = stress(NICE(D, couplings=4, hidden=(8,)), 1.0).double()
    x = torch.randn(8, D).double()
    other = {n: (p + 0.1).detach().requires_grad_() for n, p in flow.named_parameters()}

    def loss(given: dict[str, Tensor], rows: Tensor) -> Tensor:
        return -torch.func.functional_call(flow, given, (rows,)).mean()

    plain = torch.autograd.grad(loss(other, x), list(other.values()))
    set_memory(flow, "constant")
    for found in (
        torch.autograd.grad(loss(other, x), list(other.values())),
        torch.func.grad(loss)(other, x).values(),
    ):
        for a, b in zip(plain, found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    rows = torch.func.vmap(torch.func.grad(lambda row: flow.log_prob(row)))(x)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(flow.log_prob(leaf).sum(), leaf)
    torch.testing.assert_close(rows, wanted, rtol=1e-10, atol=1e-12)
    compiled: Any = torch.compile(flow, fullgraph=True, backend="eager")
    (found,) = torch.autograd.grad(compiled(leaf).sum(), leaf)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    with warnings.catch_warnings(), torch.autograd.forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, on the first use
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        slope = torch.autograd.forward_ad.unpack_dual(flow.log_prob(dual)).tangent
    torch.testing.assert_close(slope, wanted.sum(-1), rtol=1e-10, atol=1e-12)


def test_parameters_changed_before_the_gradient_are_an_error() -> None:
    chain = set_memory(stress(couplings(AffineLaw()), 1.0), "constant")
    value, _ = chain.inverse(torch.randn(4, D))
    with torch.no_grad():
        next(chain.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()


def test_threads_share_a_chain() -> None:
    torch.manual_seed(0)
    chain = set_memory(stress(couplings(AffineLaw()), 1.0), "constant")
    batches = [torch.randn(ROWS, D) for _ in range(4)]
    wanted = [outcome(chain, x, inverse=True) for x in batches]
    found: dict[int, list[Tensor]] = {}

    def work(i: int) -> None:
        found[i] = outcome(chain, batches[i], inverse=True)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, plain in enumerate(wanted):
        assert all(torch.equal(a, b) for a, b in zip(plain, found[i], strict=True))


def test_memory_is_no_part_of_a_model_and_survives_a_copy() -> None:
    flow = set_memory(NICE(3, couplings=2), "constant")
    assert isinstance(flow.bijection, Chain)
    assert flow.bijection.memory == "constant"
    assert copy.deepcopy(flow).bijection.memory == "constant"
    assert to_spec(flow) == to_spec(set_memory(copy.deepcopy(flow), "full"))
    with pytest.raises(diffeo.errors.ConfigError, match="constant"):
        flow.bijection.memory = "constat"
    with pytest.raises(diffeo.errors.ConfigError, match="full"):
        Chain(Scale(2), memory="ful")


def gradients(chain: Chain, memory: str, before_backward: Callable[[], Any] | None = None) -> list[Tensor]:
    set_memory(chain, memory)
    chain.zero_grad()
    torch.manual_seed(0)
    value, log_det = chain.inverse(torch.linspace(-2, 2, ROWS * D).reshape(ROWS, D))
    if before_backward is not None:
        before_backward()
    (value.square().sum() + log_det.sum()).backward()
    return [p.grad.clone() for p in chain.parameters() if p.grad is not None]


def test_hooks_of_parameters_are_called_once() -> None:
    chain = stress(couplings(AffineLaw()))
    calls: list[float] = []

    def doubled(gradient: Tensor) -> Tensor:
        calls.append(float(gradient.norm()))
        return 2 * gradient

    for p in list(chain.parameters())[:3]:
        p.register_hook(doubled)
    full, constant = gradients(chain, "full"), gradients(chain, "constant")
    assert len(calls) == 6
    for one, other in zip(full, constant, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_modes_on_the_way_back_are_those_of_the_pass() -> None:
    chain = stress(couplings(AffineLaw(), dropout=0.5)).train()
    full = gradients(chain, "full", chain.eval)
    chain.train()
    constant = gradients(chain, "constant", chain.eval)
    assert not any(module.training for module in chain.modules())
    for one, other in zip(full, constant, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


class Moved(Bijection):
    """x = z + t, where t is what somebody computed elsewhere."""

    def __init__(self, t: Tensor) -> None:
        super().__init__()
        self.t = t

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z + self.t, z.new_zeros(z.shape[:-1])

    def inverse(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x - self.t, x.new_zeros(x.shape[:-1])


def test_a_tensor_that_is_no_parameter_has_its_gradient() -> None:
    chain = stress(couplings(AffineLaw()))
    first, second, *rest = chain.bijections
    found = []
    for memory in ("full", "constant"):
        t = torch.ones(D, requires_grad=True)
        gradients(Chain(first, Moved(2 * t), second, *rest), memory)  # pyright: ignore[reportArgumentType]
        assert t.grad is not None
        found.append(t.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)
