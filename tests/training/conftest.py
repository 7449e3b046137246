import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffeo.flows import Flow, RealNVP


@pytest.fixture(autouse=True)
def one_thread():
    """Steps on a handful of rows are slower on two threads than on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def normal() -> Callable[..., tuple[Tensor, float]]:
    """Draws of a correlated normal in two dimensions, and its entropy in nats."""

    def draw(rows: int, seed: int = 0) -> tuple[Tensor, float]:
        factor = torch.tensor([[2.0, 0.0], [1.2, 0.5]])
        x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed)) @ factor.T
        return x + torch.tensor([1.0, -2.0]), 1 + math.log(2 * math.pi) + math.log(2.0 * 0.5)

    return draw


@pytest.fixture
def banana() -> Callable[..., tuple[Tensor, float]]:
    """Draws of a bent normal, x₂ = z₂/2 + x₁², and its entropy in nats."""

    def draw(rows: int, seed: int = 0) -> tuple[Tensor, float]:
        z = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
        x = torch.stack([z[:, 0], 0.5 * z[:, 1] + z[:, 0].square()], -1)
        return x, 1 + math.log(2 * math.pi) + math.log(0.5)

    return draw


@pytest.fixture
def small() -> Callable[..., Flow]:
    """Small flows; the same seed gives the same first weights."""

    def make(features: int = 2, context: int = 0, *, seed: int = 0, **settings) -> Flow:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return RealNVP(features, context, **{"couplings": 4, "hidden": (24,), **settings})

    return make


@pytest.fixture
def same_weights() -> Callable[[Flow, Flow], bool]:
    """Whether the states of two flows are equal, bit for bit."""

    def same(one: Flow, two: Flow) -> bool:
        a, b = one.state_dict(), two.state_dict()
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)

    return same


@pytest.fixture
def state_path(tmp_path: Path) -> Path:
    return tmp_path / "state.safetensors"
