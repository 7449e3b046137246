"""Where the compiled kernels have a place, and where torch computes what they would."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from diffeo.bijections import Chain, Coupling, Inverse, Mask
from diffeo.bijections.fused import step_of
from diffeo.conditioners import MLP
from diffeo.distributions import StandardNormal
from diffeo.flows import MAF, NSF, RealNVP
from diffeo.flows.accelerated import accelerated
from diffeo.flows.flow import Flow
from diffeo.kernels.native import Pool, library
from diffeo.laws import Affine, RationalQuadratic

from .layers import (
    FEATURES,
    NETWORKS,
    fused_of,
    rows,
    stirred,
)

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")


def test_layers_beside_each_other_are_one_map_and_others_stay():
    flow = RealNVP(FEATURES, couplings=3).train()
    fast = accelerated(flow.bijection, training=True)
    kinds = [type(part).__name__ for part in fast.bijections]
    assert kinds == ["BatchNorm", "Fused"] * 3
    whole = accelerated(Chain(NSF(FEATURES).bijection, Inverse(MAF(FEATURES, batch_norm=False).bijection)))
    assert [type(part).__name__ for part in whole.bijections] == ["Chain", "Inverse"]
    assert len(whole.bijections[0].bijections) == 1


@pytest.mark.parametrize(
    "layer",
    [
        Coupling(Affine(), MLP(4, 3, 2, dropout=0.5), Mask.alternating(FEATURES)),
        Coupling(RationalQuadratic(65), MLP(4, 3, 196), Mask.alternating(FEATURES)),
        Coupling(Affine(), MLP(0, 1, 2), Mask.alternating(1)),
        Coupling(Affine(), MLP(4, 3, 2).double(), Mask.alternating(FEATURES)),
    ],
    ids=["dropout", "many bins", "one feature", "float64"],
)
def test_what_the_kernels_do_not_know_is_left_to_torch(layer):
    assert step_of(layer, Pool(), training=True) is None


def test_a_graph_is_gone_back_through_once():
    fused = fused_of(NETWORKS["MLP relu"](Affine(), 0))
    x, _ = rows()
    loss = fused.inverse(x)[1].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"expected one pass|freed"):
        loss.backward()


def test_a_parameter_changed_before_the_way_back_is_an_error():
    layer = NETWORKS["MLP relu"](Affine(), 0)
    fused = fused_of(layer)
    loss = fused.inverse(rows()[0])[1].sum()
    with torch.no_grad():
        next(layer.parameters()).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_without_a_compiler_a_flow_is_computed_by_torch(tmp_path):
    script = (
        "from diffeo.flows import NSF\n"
        "from diffeo.flows.accelerated import accelerated\n"
        "from diffeo.kernels.native import library\n"
        "flow = NSF(3).bijection\n"
        "assert library() is None\n"
        "assert accelerated(flow) is flow\n"
    )
    for change in ({"CXX": str(tmp_path / "none")}, {"DIFFEO_NATIVE": "0"}):
        environment = {**os.environ, "DIFFEO_CACHE": str(tmp_path / "cache"), **change}
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_parameters_may_lie_in_memory_as_they_like():
    flow = stirred(NSF(FEATURES)).eval()
    x, _ = rows()
    with torch.no_grad():
        for p in flow.parameters():
            if p.ndim == 2:
                p.data = p.data.t().contiguous().t()
        wanted = flow.bijection.inverse(x)[0]
        assert torch.allclose(accelerated(flow.bijection).inverse(x)[0], wanted, atol=1e-4)


def test_torchs_defaults_change_nothing():
    flow = stirred(NSF(FEATURES)).eval()
    x, _ = rows()
    fast = Flow(flow.base, accelerated(flow.bijection, training=True))
    parameters = list(flow.parameters())
    wanted = torch.autograd.grad(fast(x).sum(), parameters)
    torch.set_default_dtype(torch.float64)
    try:
        found = torch.autograd.grad(fast(x).sum(), parameters)
        with torch.no_grad():
            assert fast(x).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    for own, other in zip(found, wanted, strict=True):
        assert torch.equal(own, other)


def test_units_are_dropped_where_one_part_alone_trains():
    layer = Coupling(Affine(), MLP(4, 3, 2, dropout=0.5), Mask.alternating(FEATURES))
    flow = Flow(StandardNormal(FEATURES), stirred(layer)).eval()
    x, _ = rows()
    with torch.no_grad():
        assert torch.equal(flow(x), flow(x))
        for module in flow.modules():
            if isinstance(module, torch.nn.Dropout):
                module.train()
        assert not torch.equal(flow(x), flow(x))


def test_hooks_are_called_also_those_that_came_later():
    flow = stirred(NSF(FEATURES)).eval()
    x, _ = rows()
    with torch.no_grad():
        flow(x)
        heard = []
        for module in flow.bijection.modules():
            module.register_forward_hook(lambda module, given, found: heard.append(module))
        flow(x)
    assert len(set(heard)) > 10


def test_another_law_is_computed_by():
    layer = stirred(NETWORKS["MLP relu"](Affine(1.0), 0))
    flow = Flow(StandardNormal(FEATURES), layer).eval()
    x, _ = rows()
    with torch.no_grad():
        flow(x)
    layer.law = Affine(5.0)
    wanted = flow(x).detach()
    with torch.no_grad():
        assert torch.allclose(flow(x), wanted, atol=1e-4)


def test_memory_of_batches_of_many_sizes_is_let_go(monkeypatch):
    monkeypatch.setattr("diffeo.kernels.native.pool.MOST_FREE", 100)
    pool = Pool()
    for numbers in range(1, 60):
        pool.give(pool.take(numbers))
    assert sum(tensor.numel() for tensors in pool._free.values() for tensor in tensors) <= 100


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_records_operations():
    flow = stirred(NSF(FEATURES)).eval()
    x, _ = rows()
    with torch.no_grad():
        traced = torch.jit.trace(flow, (x,), check_trace=False)
        assert torch.allclose(traced(2 * x), flow(2 * x), atol=1e-3)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root may be another user")
@pytest.mark.parametrize("home", ["", "/root/none"])
def test_a_user_without_a_home_scores_by_torch(home):
    script = (
        "import os, torch, ctypes, pwd\n"
        "from diffeo.flows import NSF\n"
        "flow = NSF(3).eval()\n"
        "os.setuid(54321)\n"
        "with torch.no_grad(): flow(torch.zeros(2, 3))\n"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME", "DIFFEO_CACHE")}
    environment = {**kept, "HOME": home} if home else kept
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
