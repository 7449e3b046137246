"""The spline's Triton kernels against torch's formulas in float64, run by Triton's interpreter.

Triton decides when it is imported whether it interprets, so that the tests marked INTERPRETED run in a
process of their own, which one test here starts. They need no GPU; those marked GPU do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch
from torch.autograd import grad

from diffeo.bijections import Autoregressive, Chain, Coupling, Mask
from diffeo.bijections.fused import launched
from diffeo.bijections.fused.launched import on_launched, trusted
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.kernels import triton as kernels
from diffeo.kernels.triton import calls
from diffeo.laws import Inverted, RationalQuadratic

triton = pytest.importorskip("triton", minversion="3.2", reason="Triton comes with torch's CUDA builds")

INTERPRETED = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="run by test_kernels_pass_when_they_are_interpreted"
)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

# numpy, which the interpreter computes with, tells of NaN and overflow where a GPU does not.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

LAWS = {
    "matching": RationalQuadratic(5),
    "linear": RationalQuadratic(8, tails="linear"),
    "one bin": RationalQuadratic(1),
    "one bin, linear": RationalQuadratic(1, tails="linear"),
    "narrow bins": RationalQuadratic(13, bound=5.0, min_bin=1e-5, min_slope=1e-5),
    "inverted": Inverted(RationalQuadratic(4)),
}
EVERY = pytest.mark.parametrize("name", LAWS)
BOTH = pytest.mark.parametrize("inverse", [False, True])
HOSTILE = [float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 3.4e38, 1e16, 1.1e16, -1e-45, 0.0, -0.0]


def given(law, count=200, gain=0.3, device="cpu"):
    draws = torch.Generator().manual_seed(0)
    u = 4 * (2 * torch.rand(count, generator=draws) - 1)
    return u.to(device), (gain * torch.randn(count, law.n_params, generator=draws)).to(device)


def by_kernels(law, inverse):
    return lambda u, theta: kernels.spline(law.compiled(), u, theta, inverse=inverse)


def by_torch(law, inverse):
    return law.inverse if inverse else law.forward


def results(function, u, theta):
    """Return value, log-slope, and the gradients of a fixed sum of those that are numbers."""
    u, theta = u.detach().clone().requires_grad_(), theta.detach().clone().requires_grad_()
    value, log_slope = function(u, theta)
    weights = torch.linspace(-1, 1, u.numel(), dtype=u.dtype, device=u.device).view(u.shape)
    seeds = torch.where(value.isfinite(), weights, 0.0), weights.flip(0) + 0.3
    return [value.detach(), log_slope.detach(), *grad((value, log_slope), (u, theta), seeds)]


def errors(found, exact):
    """Return │found − exact│ / (1 + │exact│) of each, for every row its largest."""
    pairs = zip(found, exact, strict=True)
    return [((a - b).abs() / (1 + b.abs())).reshape(len(a), -1).amax(1) for a, b in pairs]


def held(law, inverse, gain, count=400, device="cpu", slack=2):
    """Hold the kernels to float64 beside torch's float32: nine rows in ten, and the worst.

    Where a bin is narrow either loses digits, and chance decides which loses more in the worst row.
    """
    u, theta = given(law, count, gain, device)
    exact = results(by_torch(law, inverse), u.double(), theta.double())
    plain = errors(results(by_torch(law, inverse), u, theta), exact)
    found = errors(results(by_kernels(law, inverse), u, theta), exact)
    for own, other in zip(found, plain, strict=True):
        assert own.quantile(0.9) <= slack * other.quantile(0.9) + 1e-7
        assert own.max() <= 20 * other.max() + 1e-6
    return [float(own.max()) for own in found]


@pytest.fixture(autouse=True)
def few_programs(request, monkeypatch):
    """Large blocks: the interpreter runs one program after another, each as operations of numpy."""
    if INTERPRETED.mark in request.node.own_markers:
        monkeypatch.setattr(calls, "BLOCK", 512)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is that process")
def test_kernels_pass_when_they_are_interpreted(request):
    """The tests below marked INTERPRETED, in a process whose Triton interprets."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        __file__,
    ]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        command, env=environment, cwd=request.config.rootpath, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


@INTERPRETED
@BOTH
@EVERY
def test_values_and_gradients_are_those_of_float64(name, inverse):
    """Near the identity within 1e-6 of a value and 1e-5 of the rest; elsewhere as torch."""
    value, log_slope, to_u, to_theta = held(LAWS[name], inverse, 0.05)
    assert value <= (2e-6 if name == "narrow bins" else 1e-6)  # of a box of half width 5, or 3
    assert max(log_slope, to_u, to_theta) <= 1e-5
    for gain in (1.0, 10.0):
        held(LAWS[name], inverse, gain)


@INTERPRETED
@BOTH
@EVERY
def test_zero_parameters_are_the_identity_to_the_last_bit(name, inverse):
    law = LAWS[name]
    u, theta = given(law, 300)[0], torch.zeros(300, law.n_params)
    value, log_slope, to_u, _ = results(by_kernels(law, inverse), u, theta)
    assert torch.equal(value, u)
    assert not log_slope.any()
    assert torch.allclose(to_u, results(by_torch(law, inverse), u, theta)[2], atol=2e-6)


@INTERPRETED
@BOTH
@EVERY
def test_hostile_values_stay_in_their_row_with_finite_derivatives(name, inverse):
    law = LAWS[name]
    u = torch.tensor(HOSTILE)
    theta = given(law, len(u), gain=0.5)[1]
    exact = results(by_torch(law, inverse), u, theta)
    found = results(by_kernels(law, inverse), u, theta)
    for own, right in zip(found, exact, strict=True):
        assert torch.allclose(own, right, rtol=2e-5, atol=2e-5, equal_nan=True)
    assert all(each.isfinite().all() for each in found[1:])
    # A row that is masked out has no gradient at all.
    u, theta = u.requires_grad_(), theta.requires_grad_()
    value, log_slope = by_kernels(law, inverse)(u, theta)
    masked = grad((value, log_slope), (u, theta), (torch.zeros_like(u), torch.zeros_like(u)))
    assert not any(each.any() for each in masked)


@INTERPRETED
@BOTH
def test_parameters_that_are_no_numbers_stay_in_their_row(inverse):
    law = LAWS["matching"]
    u, theta = given(law, 40)
    clean = by_kernels(law, inverse)(u, theta)
    spoilt = theta.clone()
    for row, (place, number) in enumerate([(0, float("nan")), (7, float("inf")), (12, float("nan"))]):
        spoilt[row, place] = number
    for own, right, without in zip(
        by_kernels(law, inverse)(u, spoilt), by_torch(law, inverse)(u, spoilt), clean, strict=True
    ):
        assert torch.equal(own[3:], without[3:])
        assert torch.equal(own[:3].isnan(), right[:3].isnan())


@INTERPRETED
@BOTH
@EVERY
def test_knots_and_edges_of_the_box_are_hit(name, inverse):
    law = LAWS[name]
    plain, turned = (law.law, not inverse) if isinstance(law, Inverted) else (law, inverse)
    row = given(law, 1, gain=0.5)[1]
    knots = plain.knots(row)
    u = (knots.ys if turned else knots.xs)[0]
    u = torch.cat([u, u.nextafter(torch.full_like(u, 9.0)), u.nextafter(torch.full_like(u, -9.0))])
    theta = row.expand(len(u), -1)
    exact = by_torch(law, inverse)(u.double(), theta.double())
    found = results(by_kernels(law, inverse), u, theta)
    plain = by_torch(law, inverse)(u, theta)
    for own, other, right in zip(found, plain, exact, strict=False):
        assert (own - right).abs().max() <= 4 * (other - right).abs().max() + 5e-6
    assert all(each.isfinite().all() for each in found)


@INTERPRETED
@BOTH
def test_extreme_parameters_are_finite_and_as_right_as_torch(inverse):
    law = LAWS["linear"]
    u, theta = given(law, 300, gain=1e4)
    exact = results(by_torch(law, inverse), u.double(), theta.double())
    plain = results(by_torch(law, inverse), u, theta)
    found = results(by_kernels(law, inverse), u, theta)
    assert all(each.isfinite().all() for each in found)
    for own, other in zip(errors(found, exact), errors(plain, exact), strict=True):
        assert own.quantile(0.9) <= 2 * other.quantile(0.9) + 1e-6


@INTERPRETED
@pytest.mark.parametrize("count", [0, 1, 127, 128, 129])
def test_nothing_is_written_behind_the_last_element(count, monkeypatch):
    monkeypatch.setattr(calls, "BLOCK", 128)
    from diffeo.kernels.triton.source.passes import backward, forward

    law = LAWS["matching"]
    u, theta = given(law, count)
    room = [torch.full((count + 200,), 7.0) for _ in range(3)]
    wide = torch.full((count + 200, law.n_params), 7.0)
    seeds = torch.ones(count), torch.ones(count)
    calls._launch(forward, law.compiled(), False, u, theta, room[0], room[1])
    calls._launch(backward, law.compiled(), False, u, theta, *seeds, room[2], wide)
    assert all((each[count:] == 7.0).all() for each in (*room, wide))
    if count:
        exact = law.forward(u, theta)
        assert torch.allclose(room[0][:count], exact[0], atol=1e-5)
        assert not (wide[:count] == 7.0).any()


@INTERPRETED
def test_shapes_strides_and_gradients_that_are_not_asked_for():
    law = LAWS["linear"]
    u, theta = given(law, 60)
    whole = by_kernels(law, False)(u, theta)
    # Rows and features; θ as a transposed view, u as every second number.
    apart = torch.stack([u, u], -1).flatten()[::2].view(4, 15)
    turned = theta.t().contiguous().t().view(4, 15, -1)
    assert not apart.is_contiguous()
    assert not turned.is_contiguous()
    for own, right in zip(by_kernels(law, False)(apart, turned), whole, strict=True):
        assert torch.equal(own.flatten(), right)
    theta.requires_grad_()
    value, _ = by_kernels(law, False)(u, theta)
    (alone,) = grad(value.sum(), theta)  # the log-slope has no gradient, u wants none
    (right,) = grad(law.forward(u, theta)[0].sum(), theta)
    assert torch.allclose(alone, right, atol=1e-5)
    empty = by_kernels(law, True)(torch.empty(0, 3), torch.empty(0, 3, law.n_params))
    assert [each.shape for each in empty] == [(0, 3), (0, 3)]


@INTERPRETED
def test_a_second_derivative_is_refused():
    law = LAWS["matching"]
    u, theta = given(law, 5)
    value, _ = by_kernels(law, False)(u.requires_grad_(), theta.requires_grad_())
    with pytest.raises(RuntimeError, match="create_graph=False"):
        grad(value.sum(), theta, create_graph=True)


@INTERPRETED
def test_sixty_four_bins():
    law = RationalQuadratic(64)
    u, theta = given(law, 40)
    for inverse in (False, True):
        exact = by_torch(law, inverse)(u.double(), theta.double())
        for own, right in zip(by_kernels(law, inverse)(u, theta), exact, strict=True):
            assert torch.allclose(own.double(), right, atol=2e-4)


@INTERPRETED
@EVERY
def test_the_trial_that_precedes_their_use_is_passed(name):
    assert trusted(LAWS[name], torch.device("cpu"))


@INTERPRETED
def test_layers_go_through_them(monkeypatch):
    monkeypatch.setattr(kernels, "takes", lambda u, theta: not calls.transformed(u))
    law = RationalQuadratic(4)
    torch.manual_seed(0)
    coupling = Coupling(law, MLP(2, 3, law.n_params, hidden=(8,)), Mask.halves(5))
    ordered = Autoregressive(Inverted(law), MaskedMLP(5, law.n_params, hidden=(8,)))
    with torch.no_grad():
        for p in (*coupling.parameters(), *ordered.parameters()):
            p.add_(0.3 * torch.randn(p.shape))
    plain, fast = Chain(coupling, ordered), Chain(on_launched(coupling), on_launched(ordered))
    x = torch.randn(33, 5)
    for inverse in (False, True):
        found = []
        for chain in (plain, fast):
            value, log_det = (chain.inverse if inverse else chain)(x)
            loss = value.square().sum() + log_det.sum()
            found.append([value, log_det, *grad(loss, list(plain.parameters()))])
        for own, right in zip(found[1], found[0], strict=True):
            assert torch.allclose(own, right, atol=2e-4, rtol=1e-4)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="what is interpreted is not compiled")
@pytest.mark.parametrize("architecture", [80, 90])
def test_they_compile_for_gpus_that_are_not_here(architecture, tmp_path, monkeypatch):
    """Through Triton's own compiler to machine code; nothing of it is run."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from diffeo.kernels.triton.source.passes import backward, forward

    law = LAWS["linear"]
    settings = calls.settings(law.compiled(), law.compiled().inverted, law.n_params)
    for kernel in (forward, backward):
        names = kernel.arg_names
        kinds = {n: "constexpr" if n in settings else "i32" if n == "count" else "*fp32" for n in names}
        constants = {(names.index(name),): value for name, value in settings.items()}
        source = ASTSource(fn=kernel, signature=kinds, constexprs=constants)
        target = GPUTarget("cuda", architecture, 32)
        made = triton.compile(source, target=target, options=dict(calls.COMPILED_WITH))
        assert made.asm["cubin"]
        # Division and roots are rounded to nearest, and sums and products one by one.
        assert not {"div.full", "div.approx", "sqrt.approx"} & set(re.findall(r"\w+\.\w+", made.asm["ptx"]))


@GPU
@BOTH
@EVERY
def test_on_a_gpu_they_are_as_right_as_torch(name, inverse):
    law = LAWS[name]
    u, theta = given(law, 5000, 0.3, "cuda")
    assert kernels.takes(u, theta)
    for gain in (0.05, 0.3, 1.5):
        held(law, inverse, gain, 5000, "cuda", slack=3)  # its exp2 has an error of two roundings
    zeros = torch.zeros_like(theta)
    assert torch.equal(by_kernels(law, inverse)(u, zeros)[0], u)
    assert not by_kernels(law, inverse)(u, zeros)[1].any()


@GPU
def test_on_a_gpu_layers_are_launched():
    law = RationalQuadratic(4)
    coupling = Coupling(law, MLP(2, 3, law.n_params), Mask.halves(5)).cuda()
    fast = launched(coupling)
    assert fast is not None
    x = torch.randn(100, 5, device="cuda")
    assert torch.allclose(fast(x)[0], coupling(x)[0], atol=1e-5)
