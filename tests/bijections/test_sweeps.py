"""Sweeps, all features at once or block by block: bit for bit what passes for each level give, or NaN."""

import pytest
import torch

import diffeo
from diffeo.bijections import Autoregressive
from diffeo.bijections.autoregressive import BLOCKS, WIDE
from diffeo.bijections.sweeps import in_blocks
from diffeo.conditioners import CausalTransformer, MaskedMLP, MaskedResidualMLP, OrderedConditioner
from diffeo.diagnostics import checks
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.laws import Affine, Bernstein, RationalQuadratic
from diffeo.testing import stress

NETWORKS = {
    "deep": (MaskedMLP, {"hidden": (24, 17)}),
    "a graph": (MaskedMLP, {"adjacency": [[i > j >= i - 2 for j in range(20)] for i in range(20)]}),
    "residual": (MaskedResidualMLP, {"width": 30, "order": "descending"}),
    "transformer": (CausalTransformer, {"width": 16, "heads": 2}),
}


class Counted(OrderedConditioner):
    """A network without stages: each feature is steered by the sum of all before."""

    def __init__(self, features, weight=0.1):
        super().__init__()
        self._order(features, 2, 0, "ascending", None)
        self.weight = torch.nn.Parameter(torch.tensor(weight))
        self.passes = 0

    def forward(self, x, context=None):
        self.passes += 1
        before = torch.nn.functional.pad(x.tanh().cumsum(-1)[..., :-1], (1, 0))
        return torch.stack([self.weight * before.sin(), self.weight * before.cos()], -1)


METHODS = ("jacobi", "gauss-seidel")


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(law, network, context=0, dtype=torch.float32, gain=1.0, method="jacobi"):
    kind, settings = NETWORKS[network]
    made = kind(20, law.n_params, context=context, **settings)
    layer = stress(Autoregressive(law, made, method).to(dtype), gain)
    return layer, Autoregressive(law, layer.conditioner, "levels").eval()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [1.0, 4.0])
@torch.no_grad()
def test_bit_for_bit_what_passes_give(method, network, context, dtype, gain):
    for law in (Affine(), RationalQuadratic(4)):
        layer, plain = both(law, network, context, dtype, gain, method)
        z, given = normal(3, 5, 20, dtype=dtype), normal(5, 2, seed=1, dtype=dtype) if context else None
        wanted, wanted_det = plain(z, given)
        x, log_det, info = layer.forward_with_info(z, given)
        assert (x - z).abs().max() > 0.1
        assert torch.equal(x, wanted)
        assert torch.equal(log_det, wanted_det)
        assert info.converged.all()
        assert info.iterations.shape == (3, 5)
        levels = layer.conditioner.levels
        least = 2 if method == "jacobi" else len(in_blocks(levels, BLOCKS))
        assert least <= info.iterations.min() <= info.iterations.max() <= len(levels)
        assert torch.equal(info.residual, (layer.inverse(x, given)[0] - z).abs().amax(-1))


@torch.no_grad()
def test_where_dependences_are_weak_few_sweeps_are_enough():
    layer = Autoregressive(Affine(), Counted(200).double(), "jacobi").eval()
    z = normal(6, 200, dtype=torch.float64)
    x, _, info = layer.forward_with_info(z)
    assert layer.conditioner.passes < 40
    assert info.residual.max() < 1e-13
    assert torch.equal(x, Autoregressive(Affine(), layer.conditioner, "levels").eval()(z)[0])


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_a_row_that_is_given_up_is_nan_and_said_to_be(method):
    network = Counted(50, 1.0).double()
    layer = Autoregressive(
        Affine(), network, method, max_iter={"jacobi": 12, "gauss-seidel": 44}[method]
    ).eval()
    plain = Autoregressive(Affine(), network, "levels").eval()
    z = normal(40, 50, dtype=torch.float64)
    # Rows of large noise are steered by features that are all but ±1: they settle soon.
    z[::2, :] = 40 * z[::2, :].sign() + z[::2, :]
    x, log_det, info = layer.forward_with_info(z)
    wanted = plain(z)[0]
    assert 0 < info.converged.sum() < 40
    assert torch.equal(x.isfinite().all(-1), info.converged)
    assert torch.equal(x.isnan().all(-1), ~info.converged)
    assert torch.equal(log_det.isnan(), ~info.converged)
    assert torch.equal(x[info.converged], wanted[info.converged])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hostile", [torch.nan, torch.inf, -torch.inf, 1e38])
@torch.no_grad()
def test_a_hostile_row_stays_alone(method, hostile):
    layer, plain = both(Affine(), "deep", 2, method=method)
    z, given = normal(6, 20), normal(6, 2, seed=1)
    bad, bad_context = z.clone(), given.clone()
    bad[2, 3], bad_context[4, 0] = hostile, hostile
    x, log_det, info = layer.forward_with_info(bad, bad_context)
    kept = [0, 1, 3, 5]
    assert torch.equal(x[kept], layer(z, given)[0][kept])
    assert info.converged[kept].all()
    wanted = plain(bad, bad_context)
    torch.testing.assert_close((x, log_det), wanted, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(info.converged, ~(x.isnan().any(-1) | log_det.isnan()))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_rows_bits_do_not_depend_on_its_batch(method, network):
    layer, _ = both(RationalQuadratic(5), network, 3, method=method)
    z, given = normal(20, 20), normal(20, 3, seed=1)
    figure = checks.batch_invariance(layer, z, given, inverse=False, limit=0.0)
    assert figure.ok, figure
    with torch.no_grad():
        whole = layer.forward_with_info(z, given)[2].iterations
        alone = [layer.forward_with_info(z[k], given[k])[2].iterations for k in range(20)]
    assert torch.equal(whole, torch.stack(alone))


@torch.no_grad()
def test_where_dependences_are_strong_blocks_bound_what_the_law_costs(monkeypatch):
    asked, plain = [], Affine.forward

    def watched(law, u, theta):
        asked.append(u.shape[-1])
        return plain(law, u, theta)

    monkeypatch.setattr(Affine, "forward", watched)
    network, z = Counted(64, 3.0).double(), normal(8, 64, dtype=torch.float64)
    made = {}
    for method in ("levels", *METHODS):
        network.passes = 0
        asked.clear()
        x, _ = Autoregressive(Affine(), network, method).eval()(z)
        made[method] = x, network.passes, sum(asked)
    (wanted, most, _), (_, sweeps, whole), (x, passes, parts) = made.values()
    assert torch.equal(x, wanted)
    assert most / 2 < sweeps <= passes <= most == 64
    assert (whole, parts) == (sweeps * 64, passes * 64 // BLOCKS)


@torch.no_grad()
def test_blocks_agree_with_the_incremental_pass():
    for law in (Affine(), RationalQuadratic(4), Bernstein(4)):
        network = MaskedMLP(20, law.n_params, hidden=(24, 17))
        layer = stress(Autoregressive(law, network, "gauss-seidel").double())
        z = normal(9, 20, dtype=torch.float64)
        wanted = Autoregressive(law, layer.conditioner, "incremental").eval()(z)
        torch.testing.assert_close(layer(z), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_are_those_of_passes(method):
    layer, plain = both(Affine(), "deep", dtype=torch.float64, method=method)
    z = normal(3, 20, dtype=torch.float64).requires_grad_()

    def slopes(of):
        x, log_det = of(z)
        return torch.autograd.grad(x.sin().sum() + log_det.sum(), [z, *layer.parameters()])

    for found, wanted in zip(slopes(layer), slopes(plain), strict=True):
        assert torch.equal(found, wanted)
    with torch.no_grad():
        inner = torch.vmap(torch.func.jacrev(lambda row: layer(row)[0]))(z)
    outer = torch.autograd.functional.jacobian(lambda rows: layer(rows)[0].sum(0), z).transpose(0, 1)
    torch.testing.assert_close(inner, outer, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.linalg.slogdet(inner).logabsdet, layer(z)[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_it_compiles_as_one_graph(method):
    layer = Autoregressive(Affine(), MaskedMLP(3, 2, hidden=(8,)), method).eval()
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        z = normal(5, 3)
        torch.testing.assert_close(compiled(z), layer(z))


@torch.no_grad()
def test_automatic_is_passes_for_few_levels_and_sweeps_for_many():
    for features, most in ((20, 20), (WIDE + 1, 60)):
        layer = Autoregressive(Affine(), Counted(features).double()).eval()
        layer(normal(4, features, dtype=torch.float64))
        assert (layer.conditioner.passes == 20) is (features == 20)
        assert layer.conditioner.passes <= most


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_in_training_it_is_passes(method):
    layer = Autoregressive(Affine(), Counted(30).double(), method).train()
    layer(normal(4, 30, dtype=torch.float64))
    assert layer.conditioner.passes == 30


@pytest.mark.parametrize("method", ["incremental", "levels"])
def test_other_methods_tell_what_they_reached(method):
    layer = stress(Autoregressive(Affine(), MaskedMLP(4, 2, hidden=(8,)), method).double())
    z = normal(5, 4, dtype=torch.float64)
    z[3, 1] = torch.nan
    x, log_det, info = layer.forward_with_info(z)
    assert torch.equal(x[:3], layer(z)[0][:3])
    assert torch.equal(log_det[:3], layer(z)[1][:3])
    assert info.converged.tolist() == [True, True, True, False, True]
    assert info.iterations.tolist() == [0] * 5
    assert info.residual[:3].max() < 1e-14


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_are_kept_in_a_file(tmp_path, method):
    layer = Autoregressive(Affine(), MaskedMLP(3, 2), method, max_iter=7)
    Flow(StandardNormal(3), layer).save(tmp_path / "flow.safetensors")
    again = diffeo.load(tmp_path / "flow.safetensors").bijection
    assert (again.inverse_method, again.max_iter) == (method, 7)


def test_a_number_of_sweeps_that_is_none_is_named():
    with pytest.raises(ConfigError, match="max_iter=0"):
        Autoregressive(Affine(), MaskedMLP(3, 2), "jacobi", max_iter=0)
