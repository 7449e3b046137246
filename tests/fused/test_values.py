"""The compiled kernels against the layers that they stand for, in values and gradients."""

from __future__ import annotations

import copy

import pytest
import torch

from diffeo.bijections import Autoregressive
from diffeo.distributions import StandardNormal
from diffeo.flows import MAF, NSF
from diffeo.flows.accelerated import accelerated
from diffeo.flows.flow import Flow
from diffeo.kernels.native import library
from diffeo.laws import Affine, RationalQuadratic

from .layers import (
    FEATURES,
    HALF,
    LAWS,
    NETWORKS,
    ROWS,
    as_right,
    derivatives,
    fused_of,
    rows,
    stirred,
)

pytestmark = pytest.mark.skipif(library() is None, reason="no compiler: torch computes what kernels would")


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("law", LAWS)
def test_values_and_gradients_are_as_right_as_those_of_the_layer(law, network, context):
    layer = stirred(NETWORKS[network](LAWS[law], context), gain=0.08 if "wide" in network else 0.2)
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


@pytest.mark.parametrize("bias", [-3.0, 3.0])
def test_units_that_are_all_silent_or_none_of_them_are_as_right(bias):
    layer = stirred(NETWORKS["MLP, wide"](RationalQuadratic(5), 0), gain=0.02)
    with torch.no_grad():
        for p in layer.parameters():
            if p.shape == (150,) or p.shape == (70,):
                p.add_(bias)
    exact, fused, (x, _) = copy.deepcopy(layer).double(), fused_of(layer), rows()
    alive = set()
    for part in exact.modules():
        if isinstance(part, torch.nn.Linear) and part.out_features in (150, 70):
            part.register_forward_hook(lambda _, __, h: alive.update((h > 0).unique().tolist()))
    own = fused.steps[0].parameters
    order = [next(k for k, p in enumerate(layer.parameters()) if p is q) for q in own]
    truth = derivatives(exact, [list(exact.parameters())[k] for k in order], x.double(), None, inverse=True)
    plain = derivatives(layer, own, x, None, inverse=True)
    as_right(derivatives(fused, own, x, None, inverse=True), plain, truth)
    assert alive == {bias > 0}


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


def test_a_flow_and_its_accelerated_one_share_their_parameters():
    flow = stirred(NSF(FEATURES, context=2))
    fast = Flow(flow.base, accelerated(flow.bijection, training=True))
    x, c = rows(2)
    wanted = torch.autograd.grad(flow(x, c).sum(), list(flow.parameters()))
    found = torch.autograd.grad(fast(x, c).sum(), list(flow.parameters()))
    for own, other in zip(found, wanted, strict=True):
        assert (own - other).abs().max() <= 1e-4 * (1 + other.abs().max())
    assert {id(p) for p in fast.parameters()} == {id(p) for p in flow.parameters()}


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
            if network == "masked":
                # Zeros of masks are left out, as wide as vectors are: 0 · NaN is NaN to torch alone, in
                # features that no NaN has a weight to.
                assert bool((other.isnan() | ~own.isnan()).all())
                whole, wanted = (v.reshape(len(v), -1).isnan().any(-1) for v in (own, other))
                assert torch.equal(whole, wanted)
            else:
                assert torch.equal(own.isnan(), other.isnan())
