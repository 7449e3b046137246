"""From noise to data through an autoregressive layer, each way: the same x, slopes and gradients."""

import threading
import warnings

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import diffeo
from diffeo.bijections import Autoregressive
from diffeo.conditioners import CausalTransformer, MaskedMLP, MaskedResidualMLP
from diffeo.diagnostics import checks
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.laws import Affine, Inverted, MonotonicIntegral, RationalQuadratic, Tails
from diffeo.testing import stress

rng = np.random.default_rng(0)
SPARSE = np.tril(rng.random((7, 7)) < 0.3, -1)[line := rng.permutation(7)][:, line].tolist()

SETTINGS = {
    "an order": {},
    "descending": {"order": "descending"},
    "any order": {"order": [4, 2, 0, 6, 1, 3, 5]},
    "a graph": {"adjacency": SPARSE},
    "nothing on nothing": {"adjacency": [[False] * 7] * 7},
    "a circle": {"period": 2.0},
    "a graph on circles": {"adjacency": SPARSE, "period": 2.0},
}
NETWORKS = {
    "deep": (MaskedMLP, {"hidden": (24, 17, 9)}),
    "narrow": (MaskedMLP, {"hidden": (3, 30)}),
    "linear": (MaskedMLP, {"hidden": ()}),
    "dropout": (MaskedMLP, {"hidden": (24,), "dropout": 0.5}),
    "residual": (MaskedResidualMLP, {"width": 18, "blocks": 2}),
    "residual, narrow": (MaskedResidualMLP, {"width": 4, "blocks": 1}),
    "no blocks": (MaskedResidualMLP, {"width": 12, "blocks": 0}),
    "transformer": (CausalTransformer, {"width": 16, "heads": 2, "blocks": 2, "dropout": 0.5}),
}
#: A transformer has an order, no graph and no circle.
FITTING = [
    (settings, network)
    for settings, given in SETTINGS.items()
    for network in NETWORKS
    if network != "transformer" or not given.keys() - {"order"}
]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(law, network, context=0, dtype=torch.float64, features=7, gain=1.0, **settings):
    """Return a lively layer that goes by stages, and one of the same parameters that goes by passes."""
    made = network(features, law.n_params, context=context, **settings)
    layer = stress(Autoregressive(law, made, "incremental").to(dtype), gain)
    assert made.free is not None or layer.conditioner.stages() is not None
    return layer, Autoregressive(law, layer.conditioner, "levels").eval()


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize(("settings", "network"), FITTING)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_stages_are_passes(settings, network, context, dtype, limit):
    kind, sizes = NETWORKS[network]
    layer, plain = both(Affine(), kind, context, dtype, **sizes, **SETTINGS[settings])
    z = normal(3, 4, 7, dtype=dtype)
    given = normal(4, 2, seed=1, dtype=dtype) if context else None
    x, log_det = layer(z, given)
    wanted, wanted_det = plain(z, given)
    assert x.shape == (3, 4, 7)
    assert (x - z).abs().max() > 0.1
    torch.testing.assert_close(x, wanted, rtol=limit, atol=limit)
    torch.testing.assert_close(log_det, wanted_det, rtol=limit, atol=limit)
    back, back_det = layer.inverse(x, given)
    torch.testing.assert_close(back, z, rtol=10 * limit, atol=10 * limit)
    torch.testing.assert_close(back_det, -log_det, rtol=10 * limit, atol=10 * limit)


LAWS = [RationalQuadratic(4), Tails(), Inverted(RationalQuadratic(3)), MonotonicIntegral()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("settings", ["any order", "a graph"])
def test_of_any_law(law, settings):
    layer, plain = both(law, MaskedResidualMLP, 2, width=20, **SETTINGS[settings])
    z, given = normal(5, 7), normal(5, 2, seed=1)
    for found, wanted in zip(layer(z, given), plain(z, given), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("network", ["deep", "residual", "transformer"])
def test_of_one_feature_and_of_many(network):
    kind, sizes = NETWORKS[network]
    for features in (1, 2, 50):
        layer, plain = both(Affine(), kind, 2, features=features, **sizes)
        z, given = normal(5, features), normal(5, 2, seed=1)
        torch.testing.assert_close(layer(z, given), plain(z, given), rtol=1e-10, atol=1e-10)


def test_no_rows_and_no_batch():
    layer, plain = both(Affine(), MaskedMLP, hidden=(16,))
    assert layer(torch.zeros(0, 7, dtype=torch.float64))[0].shape == (0, 7)
    z = normal(7)
    torch.testing.assert_close(layer(z), plain(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("network", ["deep", "narrow", "residual", "transformer"])
def test_it_takes_less_arithmetic_than_one_pass(network):
    kind, sizes = NETWORKS[network]
    layer, _ = both(
        Affine(), kind, features=32, **{**sizes, "hidden": (64, 64)} if "hidden" in sizes else sizes
    )

    def operations(function):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            function(normal(32, 32))
        return counter.get_total_flops()

    assert 0 < operations(layer) <= operations(layer.inverse)


@pytest.mark.parametrize(
    ("settings", "network"),
    [pair for pair in FITTING if pair[0] in ("any order", "a graph on circles") and pair[1] != "dropout"],
)
def test_gradients_are_those_of_passes(network, settings):
    kind, sizes = NETWORKS[network]
    layer, plain = both(Affine(), kind, 2, **sizes, **SETTINGS[settings])
    z, given = normal(5, 7).requires_grad_(), normal(5, 2, seed=1).requires_grad_()
    leaves = [z, given, *layer.conditioner.parameters()]

    def slopes(of):
        x, log_det = of(z, given)
        return torch.autograd.grad((x.sin().sum(-1) * log_det.cos()).sum(), leaves)

    for found, wanted in zip(slopes(layer), slopes(plain), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("network", [MaskedMLP, MaskedResidualMLP, CausalTransformer])
def test_first_and_second_derivatives(network):
    sizes: dict = {"width": 4, "blocks": 1} if network is not MaskedMLP else {"hidden": (6,)}
    sizes |= {"heads": 1} if network is CausalTransformer else {}
    layer, _ = both(Affine(), network, 1, features=3, activation="tanh", **sizes)
    z, given = normal(2, 3).requires_grad_(), normal(2, 1, seed=1).requires_grad_()
    name, weight = next((n, p) for n, p in layer.named_parameters() if p.ndim == 2)

    def of(z, given, weight):
        changed = {name: weight}
        return torch.func.functional_call(layer, changed, (z, given))

    leaf = weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(of, (z, given, leaf))
    assert torch.autograd.gradgradcheck(of, (z, given, leaf))


def test_the_jacobian_is_the_one_of_the_graph():
    layer, plain = both(Affine(), MaskedMLP, hidden=(20,), adjacency=SPARSE)
    z = normal(4, 7)
    slopes = torch.vmap(torch.func.jacrev(lambda row: layer(row)[0]))(z)
    wanted = torch.vmap(torch.func.jacrev(lambda row: plain(row)[0]))(z)
    torch.testing.assert_close(slopes, wanted, rtol=1e-9, atol=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's forward mode warns of itself when it is first loaded
        forward = torch.vmap(torch.func.jacfwd(lambda row: layer(row)[0]))(z)
    torch.testing.assert_close(forward, wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.linalg.slogdet(slopes).logabsdet, layer(z)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hostile", [torch.nan, torch.inf, -torch.inf, 1e38, 1e-45])
@pytest.mark.parametrize("network", ["deep", "residual, narrow", "transformer"])
def test_a_hostile_row_stays_alone(network, hostile):
    kind, sizes = NETWORKS[network]
    layer, plain = both(Affine(), kind, 2, torch.float32, gain=4.0, **sizes)
    z, given = normal(6, 7, dtype=torch.float32), normal(6, 2, seed=1, dtype=torch.float32)
    bad, bad_context = z.clone(), given.clone()
    bad[2, 3], bad_context[4, 0] = hostile, hostile
    kept, weights = torch.tensor([0, 1, 3, 5]), torch.linspace(-1, 1, 7)

    def slopes(z, given):
        x, log_det = layer(z, given)
        shown = torch.zeros(6).index_fill(0, kept, 1.0) > 0
        masked = torch.where(shown, (x * weights).sum(-1) + log_det, 0.0)
        return x, torch.autograd.grad(masked.sum(), list(layer.parameters()))

    x, wanted = slopes(z, given)
    found, steps = slopes(bad, bad_context)
    assert torch.equal(found[kept], x[kept])
    for one, other in zip(steps, wanted, strict=True):
        torch.testing.assert_close(one, other)
    # The row itself is what passes make of it.
    assert torch.equal(found.isfinite(), plain(bad, bad_context)[0].isfinite())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [2, 5, 16, 43])
@pytest.mark.parametrize(
    ("network", "sizes"),
    [
        (MaskedMLP, {"hidden": (50, 33)}),
        (MaskedResidualMLP, {"width": 37}),
        (CausalTransformer, {"width": 24, "heads": 3, "blocks": 1}),
    ],
)
def test_a_rows_bits_do_not_depend_on_its_batch(network, sizes, features, dtype):
    for law in (Affine(), RationalQuadratic(5)):
        layer, _ = both(law, network, 3, dtype, features=features, **sizes)
        z, given = normal(70, features, dtype=dtype), normal(70, 3, seed=1, dtype=dtype)
        figure = checks.batch_invariance(layer, z, given, inverse=False, limit=0.0)
        assert figure.ok, figure


@pytest.mark.parametrize("network", ["dropout", "transformer"])
def test_a_network_that_drops_units_goes_by_passes(network):
    kind, sizes = NETWORKS[network]
    layer, plain = both(Affine(), kind, **sizes)
    for one in (layer, plain):
        one.train()
    assert layer.conditioner.stages() is None
    z = normal(5, 7)
    results = []
    for one in (layer, plain):
        torch.manual_seed(0)
        results.append(one(z)[0])
    assert torch.equal(*results)


def test_a_network_of_another_formula_has_no_stages_of_the_old_one():
    class Louder(MaskedMLP):
        def forward(self, x, context=None):
            return 2 * super().forward(x, context)

    layer = stress(Autoregressive(Affine(), Louder(3, 2)).double())
    z = normal(5, 3)
    torch.testing.assert_close(layer.inverse(layer(z)[0])[0], z, rtol=1e-9, atol=1e-9)


def test_threads_share_a_layer_and_a_pass_leaves_nothing():
    layer, _ = both(Affine(), MaskedMLP, hidden=(32, 32), features=20)
    before = {name: set(vars(part)) for name, part in layer.named_modules()}
    noise = [normal(40, 20, seed=k) for k in range(4)]
    wanted, found = [layer(z)[0] for z in noise], {}

    def run(k):
        found[k] = [layer(noise[k])[0] for _ in range(10)]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(x, wanted[k]) for k in range(4) for x in found[k])
    assert {name: set(vars(part)) for name, part in layer.named_modules()} == before


@pytest.mark.parametrize("network", ["deep", "residual", "transformer"])
def test_it_compiles_and_exports_as_one_graph(network):
    kind, sizes = NETWORKS[network]
    layer, _ = both(Affine(), kind, 2, torch.float32, features=4, **sizes)
    z, given = normal(5, 4, dtype=torch.float32), normal(5, 2, seed=1, dtype=torch.float32)
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(z, given), layer(z, given))
        program = torch.export.export(layer, (z, given))
        torch.testing.assert_close(program.module()(z, given), layer(z, given))


def test_the_method_is_kept_in_a_file(tmp_path):
    for method in ("auto", "incremental", "levels"):
        layer = Autoregressive(Affine(), MaskedMLP(3, 2), inverse_method=method)
        Flow(StandardNormal(3), layer).save(tmp_path / "flow.safetensors")
        assert diffeo.load(tmp_path / "flow.safetensors").bijection.inverse_method == method


def test_an_unknown_method_is_named():
    with pytest.raises(ConfigError, match="inverse_method='newton'"):
        Autoregressive(Affine(), MaskedMLP(3, 2), inverse_method="newton")
