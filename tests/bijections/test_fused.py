"""The compiled kernels against the layers that they stand for, in values and gradients."""

from __future__ import annotations

import copy
import os
import statistics
import subprocess
import sys

import pytest
import torch

from diffeo.bijections import Autoregressive, Chain, Coupling, Inverse, Mask
from diffeo.bijections.fused import Fused, step_of
from diffeo.bijections.fused.run import _drifted
from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP, ResidualMLP
from diffeo.distributions import StandardNormal
from diffeo.flows import MAF, NSF, RealNVP
from diffeo.flows.accelerated import accelerated
from diffeo.flows.flow import Flow
from diffeo.kernels.native import Pool, has_bfloat16, library
from diffeo.laws import Additive, Affine, Inverted, RationalQuadratic

FEATURES, ROWS = 7, 75

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")

HALF = pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply in bfloat16")

LAWS = {
    "additive": Additive(),
    "affine": Affine(),
    "spline": RationalQuadratic(5),
    "linear tails": RationalQuadratic(4, tails="linear"),
    "inverted spline": Inverted(RationalQuadratic(8)),
}

NETWORKS = {
    **{
        f"MLP {name}": lambda n, c, name=name: Coupling(
            n,
            MLP(4, 3, n.n_params, hidden=(33, 20), activation=name, context=c),
            Mask.alternating(FEATURES),
        )
        for name in ("relu", "silu", "tanh", "gelu", "elu", "leaky_relu")
    },
    "residual": lambda n, c: Coupling(
        n, ResidualMLP(3, 4, n.n_params, width=20, context=c), Mask.halves(FEATURES)
    ),
    "masked": lambda n, c: Autoregressive(
        n, MaskedMLP(FEATURES, n.n_params, hidden=(40, 33), context=c, order=[3, 1, 0, 2, 6, 5, 4])
    ),
    "masked, direct": lambda n, c: Autoregressive(
        n, MaskedMLP(FEATURES, n.n_params, hidden=(4,), context=c, order="descending")
    ),
    "masked, residual": lambda n, c: Autoregressive(
        n, MaskedResidualMLP(FEATURES, n.n_params, width=18, context=c)
    ),
    "a graph": lambda n, c: Autoregressive(
        n,
        MaskedMLP(
            FEATURES,
            n.n_params,
            hidden=(30,),
            context=c,
            adjacency=[[i > j and (i + j) % 3 > 0 for j in range(FEATURES)] for i in range(FEATURES)],
        ),
    ),
}


def stirred(module, gain=0.2):
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=draws) * gain)
    return module


def fused_of(layer, *, half=False):
    pool = Pool()
    step = step_of(layer, pool, half=half, training=True)
    assert step is not None
    return Fused([step], pool)


def rows(context=0):
    draws = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(ROWS, FEATURES, generator=draws)
    return x, torch.randn(ROWS, context, generator=draws) if context else None


def derivatives(bijection, parameters, x, context, *, inverse):
    """Return value, log-determinant, and the gradients of one fixed sum of them."""
    draws = torch.Generator().manual_seed(2)
    weights = torch.randn(ROWS, FEATURES + 1, generator=draws).to(x.dtype)
    x = x.detach().clone().requires_grad_()
    given = [x] if context is None else [x, context.detach().clone().requires_grad_()]
    value, log_det = (bijection.inverse if inverse else bijection)(*given)
    total = (value * weights[:, 1:]).sum() + (log_det * weights[:, 0]).sum()
    return [value, log_det, *torch.autograd.grad(total, [*given, *parameters])]


def as_right(found, plain, truth):
    """Hold the kernels' float32 to torch's, both measured against float64.

    Where a bin is narrow either may lose a few digits more than the other: nine entries in ten decide.
    """
    ratios = []
    for own, other, right in zip(found, plain, truth, strict=True):
        size = 1 + right.detach().abs().max()
        own, other = ((each - right).detach().abs().flatten() / size for each in (own, other))
        assert own.max() <= 1e-4 + 4 * other.max()
        ratios.append(float((own.quantile(0.9) + 1e-7) / (other.quantile(0.9) + 1e-7)))
    assert statistics.geometric_mean(ratios) <= 3


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("law", LAWS)
def test_values_and_gradients_are_as_right_as_those_of_the_layer(law, network, context):
    layer = stirred(NETWORKS[network](LAWS[law], context))
    exact = copy.deepcopy(layer).double()
    fused = fused_of(layer)
    x, c = rows(context)
    for inverse in (True, False):
        if not inverse and isinstance(layer, Autoregressive):
            continue  # feature by feature: below
        truth = derivatives(
            exact, list(exact.parameters()), x.double(), c if c is None else c.double(), inverse=inverse
        )
        plain = derivatives(layer, list(layer.parameters()), x, c, inverse=inverse)
        found = derivatives(fused, fused.steps[0].parameters, x, c, inverse=inverse)
        # In torch the direct layer is registered first, in the kernels it is the last.
        order = [
            next(k for k, p in enumerate(layer.parameters()) if p is q) for q in fused.steps[0].parameters
        ]
        head = 2 + (1 if c is None else 2)
        plain = plain[:head] + [plain[head + k] for k in order]
        truth = truth[:head] + [truth[head + k] for k in order]
        as_right(found, plain, truth)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("network", [name for name in NETWORKS if "mask" in name or "graph" in name])
@pytest.mark.parametrize("law", LAWS)
def test_unrolled_it_is_what_passes_over_all_features_give(law, network, context):
    layer = stirred(NETWORKS[network](LAWS[law], context))
    fused = fused_of(layer)
    assert fused.steps[0].program.unrolls
    z, c = rows(context)
    with torch.no_grad():
        exact = copy.deepcopy(layer).double()(z.double(), c if c is None else c.double())
        plain, found = layer(z, c), fused(z, c)
    as_right(found, plain, exact)


@HALF
@pytest.mark.parametrize("network", NETWORKS)
def test_products_of_bfloat16_are_right_to_their_precision(network):
    layer = stirred(NETWORKS[network](Affine(), 2), gain=0.1)
    fused = fused_of(layer, half=True)
    x, c = rows(2)
    plain = derivatives(layer, fused.steps[0].parameters, x, c, inverse=True)
    found = derivatives(fused, fused.steps[0].parameters, x, c, inverse=True)
    for own, right in zip(found, plain, strict=True):
        # A product's relative error is at most 2⁻⁸; three layers and the law's slopes magnify it. A kink of
        # the network may be on its other side for a row, whose gradient is then another.
        limit = 0.15 if "relu" in network else 0.03
        assert (own - right).square().mean().sqrt() <= limit * (0.1 + right.square().mean().sqrt())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), -float("inf"), 1e30, 3e38])
def test_a_hostile_row_stays_in_its_row(law, hostile):
    for network in ("MLP relu", "masked"):
        layer = stirred(NETWORKS[network](LAWS[law], 0))
        fused = fused_of(layer)
        x, _ = rows()
        bad = x.clone()
        bad[5, 2] = hostile
        for own, other in zip(fused.inverse(bad), fused.inverse(x), strict=True):
            keep = torch.arange(ROWS) != 5
            assert torch.equal(own[keep], other[keep])
        value, _ = layer.inverse(bad)
        own, _ = fused.inverse(bad)
        assert torch.equal(own[5].isnan(), value[5].isnan())
        assert torch.equal(own[5].isinf(), value[5].isinf())
        loss = fused.inverse(bad)[1]
        masked = torch.where(torch.arange(ROWS) == 5, 0.0, loss).sum()
        for gradient in torch.autograd.grad(masked, fused.steps[0].parameters):
            assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("network", ["MLP silu", "residual", "masked"])
def test_a_row_has_the_same_bits_in_every_batch_and_on_every_number_of_threads(network):
    layer = stirred(NETWORKS[network](RationalQuadratic(8), 0))
    fused = fused_of(layer)
    x, _ = rows()
    threads = torch.get_num_threads()
    found = {}
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found[count] = derivatives(fused, fused.steps[0].parameters, x, None, inverse=True)
    finally:
        torch.set_num_threads(threads)
    for one, three in zip(found[1], found[3], strict=True):
        assert torch.equal(one, three)
    with torch.no_grad():
        for direction in (fused.inverse, fused):
            whole = direction(x)
            for k in (0, 31, 32, 74):
                alone = direction(x[k : k + 1])
                assert torch.equal(alone[0][0], whole[0][k])
                assert torch.equal(alone[1][0], whole[1][k])


@pytest.mark.parametrize("law", LAWS)
def test_an_untrained_layer_is_the_identity_exactly(law):
    fused = fused_of(NETWORKS["MLP relu"](LAWS[law], 0))
    x, _ = rows()
    for direction in (fused.inverse, fused):
        value, log_det = direction(x)
        assert torch.equal(value, x)
        assert bool((log_det == 0).all())


def test_layers_beside_each_other_are_one_map_and_others_stay():
    flow = RealNVP(FEATURES, couplings=3).train()
    fast = accelerated(flow.bijection, training=True)
    kinds = [type(part).__name__ for part in fast.bijections]
    assert kinds == ["BatchNorm", "Fused"] * 3
    whole = accelerated(Chain(NSF(FEATURES).bijection, Inverse(MAF(FEATURES, batch_norm=False).bijection)))
    assert [type(part).__name__ for part in whole.bijections] == ["Chain", "Inverse"]
    assert len(whole.bijections[0].bijections) == 1


def test_a_flow_and_its_accelerated_one_share_their_parameters():
    flow = stirred(NSF(FEATURES, context=2))
    fast = Flow(flow.base, accelerated(flow.bijection, training=True))
    x, c = rows(2)
    wanted = torch.autograd.grad(flow(x, c).sum(), list(flow.parameters()))
    found = torch.autograd.grad(fast(x, c).sum(), list(flow.parameters()))
    for own, other in zip(found, wanted, strict=True):
        assert (own - other).abs().max() <= 1e-4 * (1 + other.abs().max())
    assert not [name for name, _ in fast.named_parameters()]


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


def test_rows_of_any_batch_shape_and_a_shared_context():
    flow = stirred(MAF(FEATURES, context=2, batch_norm=False))
    fast = Flow(flow.base, accelerated(flow.bijection))
    x = torch.randn(3, 4, FEATURES)
    with torch.no_grad():
        found, wanted = fast(x, torch.ones(2)), flow(x, torch.ones(2))
        assert found.shape == (3, 4)
        assert torch.allclose(found, wanted, atol=1e-4)
        assert fast(x[:0], torch.ones(2)).shape == (0, 4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("law", ["affine", "spline", "inverted spline"])
def test_a_weight_that_is_nan_makes_nan_of_what_it_reaches(law, network):
    layer = stirred(NETWORKS[network](LAWS[law], 0))
    fused = fused_of(layer)
    x, _ = rows()
    with torch.no_grad():
        for p in fused.steps[0].parameters[::2]:
            p[-1] = torch.nan
        for direction in ("forward", "inverse"):
            value, log_det = getattr(layer, direction)(x)
            own, own_log_det = getattr(fused, direction)(x)
            # Torch also multiplies a NaN by a mask's zeros, and so carries it further.
            assert own.isnan().any()
            assert not (own.isnan() & ~value.isnan()).any()
            assert torch.equal(own_log_det.isnan(), log_det.isnan())


def test_a_context_that_is_not_finite_marks_its_row():
    flow = Flow(StandardNormal(FEATURES), stirred(NETWORKS["MLP relu"](Affine(), 2)))
    fast = Flow(flow.base, accelerated(flow.bijection))
    x, c = rows(2)
    c[3, 0] = torch.inf
    with torch.no_grad():
        assert fast(x, c).isnan().nonzero().flatten().tolist() == [3]


def stack(count, law, context=0, memory="full", gain=0.1):
    """Return couplings, with an autoregressive layer among them."""
    layers = [
        Coupling(
            law,
            MLP(m.n_passed, m.n_moved, law.n_params, hidden=(24, 24), context=context),
            m,
        )
        for m in (Mask.alternating(FEATURES, flip=k % 2 == 1) for k in range(count))
    ]
    middle = Autoregressive(law, MaskedMLP(FEATURES, law.n_params, hidden=(24,), context=context))
    layers[count // 2 : count // 2] = [middle]
    return stirred(Chain(*layers, memory=memory), gain)


@pytest.mark.parametrize("half", [False, pytest.param(True, marks=HALF)])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("law", LAWS)
def test_recovered_activations_give_the_gradients_of_kept_ones(law, context, half):
    x, c = rows(context)
    found = []
    for memory in ("full", "constant"):
        chain = stack(37, LAWS[law], context, memory, gain=0.05)
        fast = accelerated(chain, half=half, training=True)
        assert [part.memory for part in fast.bijections] == [memory]
        found.append(derivatives(fast, list(chain.parameters()), x, c, inverse=True))
    # In bfloat16 an input that moved by a rounding may round to its other neighbour, 2⁻⁸ away.
    limit = 2**-8 if half else 1e-5
    for kept, recovered in zip(*found, strict=True):
        assert (recovered - kept).abs().max() <= limit * (1 + kept.abs().max())


def test_activations_that_drift_are_computed_again(caplog):
    x, _ = rows()
    found = []
    caplog.set_level("INFO", "diffeo.bijections")
    for memory in ("full", "constant"):
        chain = stack(16, Affine(4.0), memory=memory, gain=0.3)
        fast = accelerated(chain, training=True)
        found.append(derivatives(fast, list(chain.parameters()), x, None, inverse=True))
    assert "are repeated" in caplog.text
    for kept, repeated in zip(*found, strict=True):
        assert (repeated - kept).abs().max() <= 1e-5 * (1 + kept.abs().max())


def test_recovering_takes_the_memory_of_few_layers():
    x = torch.randn(512, FEATURES)

    def numbers(count, memory):
        """Return what the pool has lent at a time, which is what lies between forth and back."""
        chain = stack(count, Affine(), memory=memory, gain=0.02)
        fast = accelerated(chain, training=True)
        pool = fast.bijections[0].pool
        fast.inverse(x)[1].sum().backward()
        return sum(tensor.numel() for tensors in pool._free.values() for tensor in tensors)

    assert numbers(128, "constant") <= 1.3 * numbers(16, "constant")
    assert numbers(128, "full") >= 6 * numbers(16, "full")


def test_a_hostile_row_among_recovered_activations_stays_in_its_row():
    x, _ = rows()
    bad = x.clone()
    bad[5] = torch.tensor([torch.nan, torch.inf, 1e30, 3e38, -1e30, 0.0, 1.0])
    chain = stack(20, RationalQuadratic(5), memory="constant")
    fast = accelerated(chain, training=True)
    keep = torch.arange(ROWS) != 5
    gradients = []
    for rows_ in (x, bad):
        loss = torch.where(keep, fast.inverse(rows_)[1], 0.0).sum()
        gradients.append(torch.autograd.grad(loss, list(chain.parameters())))
    for good, mixed in zip(*gradients, strict=True):
        assert (good - mixed).abs().max() <= 1e-5 * (1 + good.abs().max())


def test_a_batch_without_rows_has_gradients_of_zero():
    layer = stirred(NETWORKS["MLP relu"](Affine(), 0))
    fused = fused_of(layer)
    value, log_det = fused.inverse(torch.empty(0, FEATURES))
    for gradient in torch.autograd.grad(value.sum() + log_det.sum(), fused.steps[0].parameters):
        assert bool((gradient == 0).all())


@pytest.mark.parametrize("network", ["MLP relu", "MLP silu", "MLP tanh", "masked"])
@pytest.mark.parametrize("law", LAWS)
def test_a_parameter_that_is_nan_is_seen(law, network):
    for k in range(2):
        layer = stirred(NETWORKS[network](LAWS[law], 0))
        with torch.no_grad():
            list(layer.parameters())[1 + 2 * k].fill_(torch.nan)
        fused = fused_of(layer)
        x, _ = rows()
        for own, other in zip(fused.inverse(x / 4), layer.inverse(x / 4), strict=True):
            assert torch.equal(own.isnan(), other.isnan())


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


def test_what_was_recovered_is_gone_back_through_once():
    chain = stack(20, Affine(), memory="constant", gain=0.02)
    loss = accelerated(chain, training=True).inverse(rows()[0])[1].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="expected one pass"):
        loss.backward()


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


def test_an_input_that_comes_back_infinite_has_drifted():
    known = torch.tensor([[0.0, 3e38], [torch.nan, 1.0]])
    assert not _drifted(known.clone(), known)
    assert _drifted(torch.tensor([[0.0, torch.inf], [0.0, 0.0]]), known)
    assert not _drifted(torch.tensor([[0.0, 3e38], [5.0, torch.inf]]), known)
