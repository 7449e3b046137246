"""Many rows without gradients go in parts that a memory budget holds, with the same bits in any parts."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from diffeo.bijections import Autoregressive, Bijection, Coupling, Mask
from diffeo.conditioners import MLP, CausalTransformer, ResidualCNN, Transformer
from diffeo.distributions import StandardNormal
from diffeo.flows import BNAF, BPF, CNF, GF, MAF, NAF, NSF, UNAF, RealNVP, ResidualFlow, parts
from diffeo.flows.flow import Flow
from diffeo.flows.parts import numbers_a_row, rows_together
from diffeo.kernels.tiles import TILE
from diffeo.laws import Affine, RationalQuadratic

IMAGE = (2, 8, 8)

FLOWS = {
    "RealNVP": lambda: RealNVP(6),
    "NSF": lambda: NSF(7),
    "MAF": lambda: MAF(6),
    "NAF": lambda: NAF(4),
    "UNAF": lambda: UNAF(3),
    "BPF": lambda: BPF(4),
    "GF": lambda: GF(4),
    "BNAF": lambda: BNAF(4),
    "ResidualFlow": lambda: ResidualFlow(4),
    "CNF": lambda: CNF(3),
    "wide": lambda: of(Coupling(Affine(), MLP(3, 3, 2, hidden=(512, 512)), Mask.alternating(6))),
    "tokens": lambda: of(Coupling(RationalQuadratic(4), Transformer(4, 4, 13), Mask.halves(8))),
    "order of tokens": lambda: of(Autoregressive(Affine(), CausalTransformer(12, 2))),
    "image": lambda: Flow(
        StandardNormal(IMAGE), Coupling(Affine(), ResidualCNN(IMAGE, 2), Mask.checkerboard(IMAGE))
    ),
}


def of(bijection):
    return Flow(StandardNormal(bijection.event_shape[0]), bijection)


def made(name):
    torch.manual_seed(0)
    return FLOWS[name]().eval()


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are alive together."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.known = set()

    def gone(self, key, size):
        self.known.discard(key)
        self.bytes -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                key, size = storage._cdata, storage.nbytes()
                if key not in self.known:
                    self.known.add(key)
                    self.bytes += size
                    weakref.finalize(storage, self.gone, key, size)
        self.most = max(self.most, self.bytes)
        return result


@torch.no_grad()
def bytes_a_row(bijection, event, inverse):
    most = []
    for rows in (64, 192):
        with Alive() as alive:
            (bijection.inverse if inverse else bijection)(normal(rows, *event))
        most.append(alive.most)
    return (most[1] - most[0]) / 128


@pytest.mark.parametrize("name", FLOWS)
def test_the_estimate_is_what_torchs_formulas_take(name):
    flow = made(name)
    estimate = parts.COPIES * 4 * numbers_a_row(flow.bijection, flow.event_shape)
    taken = max(bytes_a_row(flow.bijection, flow.event_shape, inverse) for inverse in (True, False))
    assert 0.1 * estimate < taken < 1.5 * estimate


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_the_bits_of_a_row_do_not_depend_on_the_budget(name, monkeypatch):
    flow, x = made(name), normal(2 * TILE + 5, *FLOWS[name]().event_shape)
    whole = flow.log_prob(x), flow.decode(x)
    monkeypatch.setattr(parts, "BUDGET", 1)  # a tile at a time
    torch.testing.assert_close((flow.log_prob(x), flow.decode(x)), whole, rtol=0, atol=0)


class Counted(Bijection):
    """The identity, which tells how many rows it was given."""

    @classmethod
    def recorded(cls, arguments):
        return arguments

    def __init__(self, width):
        super().__init__()
        self.width, self.given = width, []

    def breadth(self):
        return self.width

    def inverse(self, x, context=None):
        self.given.append(x.shape[0])
        return x, torch.zeros_like(x[..., 0])


@torch.no_grad()
def test_rows_go_in_whole_tiles_that_the_budget_holds(monkeypatch):
    monkeypatch.setattr(parts, "BUDGET", 2**20)
    layer = Counted(128)
    flow = Flow(StandardNormal(3), layer)
    assert flow.log_prob(normal(10, 100, 3)).shape == (10, 100)
    together = rows_together(layer, torch.Size([3]), 4)
    assert together == 2**20 // (4 * parts.COPIES * 128) // TILE * TILE == 320
    assert layer.given == [320, 320, 320, 40]
    assert rows_together(layer, torch.Size([3]), 8) == 160


def test_what_is_wider_goes_in_fewer_rows():
    sizes = [rows_together(NSF(features).bijection, torch.Size([features]), 4) for features in (2, 60, 400)]
    assert sizes == sorted(sizes, reverse=True)
    assert parts.MOST == sizes[0] > sizes[-1] > TILE
    shape = (3, 64, 64)
    wide = Coupling(Affine(), ResidualCNN(shape, 2, width=512), Mask.checkerboard(shape))
    assert rows_together(wide, torch.Size(shape), 4) == TILE


@torch.no_grad()
def test_a_layer_that_reads_its_batch_is_given_the_whole(monkeypatch):
    monkeypatch.setattr(parts, "BUDGET", 1)
    torch.manual_seed(0)
    flow, x = MAF(3, batch_norm=True).train(), 5 + 3 * normal(500, 3)
    again = MAF(3, batch_norm=True).train()
    again.load_state_dict(flow.state_dict())
    wanted = again.bijection.inverse(x)[0]
    torch.testing.assert_close(flow.encode(x), wanted)


@torch.no_grad()
def test_what_is_returned_may_be_used_in_a_gradient(monkeypatch):
    monkeypatch.setattr(parts, "BUDGET", 1)
    x = made("RealNVP").decode(normal(200, 6))
    with torch.enable_grad():
        weight = torch.ones(6, requires_grad=True)
        (x * weight).sum().backward()
    assert torch.equal(weight.grad, x.sum(0))
