"""verify: every broken bijection is caught and named, alone and in a chain; every good part passes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import diffeo
from diffeo.bijections import (
    ActNorm,
    Affine,
    BatchNorm,
    Chain,
    Coupling,
    Identity,
    Inverse,
    Log,
    Logit,
    Mask,
    Permutation,
    Scale,
    Standardize,
    Whiten,
)
from diffeo.conditioners import MLP
from diffeo.diagnostics import verify
from diffeo.distributions import StandardNormal, Uniform, Wrapped
from diffeo.flows import NICE, Flow, RealNVP

_SPEC = importlib.util.spec_from_file_location("broken", Path(__file__).with_name("broken.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
broken = importlib.util.module_from_spec(_SPEC)
sys.modules["broken"] = broken
_SPEC.loader.exec_module(broken)

#: What each broken bijection breaks, and a word that the report must say of it.
BROKEN = {
    "Square": ("invertible", "comes back off"),
    "RoundingStep": ("differentiable", "jumps by 0.5"),
    "StraightThrough": ("differentiable", "jumps by 0.5"),
    "WrongSign": ("determinant", "wrong sign"),
    "ForgottenBatch": ("contract", "log_det of shape ()"),
    "SummedBatch": ("contract", "log_det of shape ()"),
    "PerFeature": ("contract", "log_det of shape (6, 2)"),
    "DiscardedBranch": ("differentiable", "torch.where discards"),
    "NoLogDet": ("contract", "expected a pair (value, log_det)"),
    "OffByConstant": ("determinant", "off by a constant, 0.1"),
    "DenseDeterminant": ("cheap", "factorised for every row"),
    "Mutating": ("contract", "changes its input in place"),
    "RowMixing": ("rows", "the other rows' values"),
    "SinglePrecision": ("contract", "log_det is float32 where float64"),
    "HiddenSinglePrecision": ("determinant", "float32 accumulation"),
    "Raising": ("contract", "IndexError: the flux capacitor is empty"),
    "PoisonedByInfinity": ("rows", "inf in x[0, 0]"),
}


def randomised(module, gain=1.0, seed=0):
    """Return the module with random weights of the given gain, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan = parameter.shape[1] if parameter.ndim == 2 else 16
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * gain / fan**0.5)
    return module.eval()


def in_a_chain(layer):
    coupling = randomised(Coupling(diffeo.laws.Affine(), MLP(1, 1, 2, hidden=(8,)), Mask.halves(2)))
    return Chain(Affine(2), coupling, layer, Permutation([1, 0]))


def test_every_broken_bijection_has_its_line_in_the_table():
    classes = {name for name, value in vars(broken).items() if isinstance(value, type)}
    assert classes & set(dir(broken)) - {"Right", "Bijection", "Tensor"} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_is_caught_and_named(name):
    requirement, word = BROKEN[name]
    report = verify(getattr(broken, name)())
    assert not report.ok
    found = [figure for figure in report.requirements[requirement] if not figure.ok]
    assert any(word in figure.detail for figure in found), report


@pytest.mark.parametrize("name", BROKEN)
def test_broken_layer_is_named_in_a_chain(name):
    requirement, word = BROKEN[name]
    report = verify(in_a_chain(getattr(broken, name)()))
    found = [figure for figure in report.requirements[requirement] if not figure.ok]
    assert any(word in figure.detail for figure in found), report
    assert report.layers_at_fault == (f"2: {name}",)
    assert f"layer 2: {name}" in str(report)


@pytest.mark.parametrize("make", [broken.Right, lambda: in_a_chain(broken.Right())], ids=["alone", "chain"])
def test_the_right_one_passes(make):
    report = verify(make())
    assert report.ok, report
    assert report.words == (
        "differentiable: yes · invertible: yes · determinant: right and cheap · contract: kept · "
        "rows: isolated"
    )


def rows(features=3, count=50):
    return torch.randn(count, features, generator=torch.Generator().manual_seed(5)) * 3 + 1


GOOD = {
    "Identity": Identity,
    "Affine": lambda: randomised(Affine(3)),
    "Scale": lambda: randomised(Scale(3)),
    "Permutation": lambda: Permutation([2, 0, 1]),
    "Standardize": lambda: Standardize(3).initialise(rows()),
    "Standardize of kilometres": lambda: Standardize(3).initialise(rows() * 1e3 + 1e4),
    "Whiten": lambda: Whiten(3).initialise(rows()),
    "Whiten by Cholesky": lambda: Whiten(3, "cholesky").initialise(rows()),
    "Whiten by ZCA": lambda: Whiten(3, "zca").initialise(rows()),
    "ActNorm": lambda: ActNorm(3).initialise(rows()),
    "ActNorm of images": lambda: ActNorm((2, 3, 3)),
    "BatchNorm": lambda: BatchNorm(3).initialise(rows()),
    "Log": Log,
    "Logit": lambda: Logit(alpha=0.05),
    "Inverse of Log": lambda: Inverse(Log()),
    "Inverse of Standardize": lambda: Inverse(Standardize(3).initialise(rows() * 1e3 + 1e4)),
    "Chain of Logit": lambda: Chain(randomised(Affine(2)), Logit(), Standardize(2).initialise(rows(2))),
    "Coupling": lambda: randomised(
        Coupling(diffeo.laws.Affine(), MLP(1, 2, 2, hidden=(16,), context=2), Mask.halves(3))
    ),
    "Coupling of images": lambda: randomised(
        Coupling(diffeo.laws.Additive(), MLP(10, 8, 1, hidden=(16,)), Mask.checkerboard((2, 3, 3)))
    ),
    "NICE": lambda: randomised(NICE(3, hidden=(16,))),
    "RealNVP": lambda: randomised(RealNVP(3, hidden=(16,), couplings=4)),
    "RealNVP untrained": lambda: RealNVP(2, couplings=2),
    "RealNVP with context": lambda: randomised(RealNVP(2, context=2, hidden=(16,), couplings=2)),
    "Flow on a box": lambda: Flow(Uniform(1, 0.0, 2.0), randomised(Scale(1))),
    "Flow in units": lambda: randomised(RealNVP(2, hidden=(16,), couplings=2)).then(
        Standardize(2).initialise(rows(2) * 1e3)
    ),
    "Flow of one feature": lambda: Flow(StandardNormal(1), Chain(randomised(Affine(1)), Log())),
    "Flow with heavy tails": lambda: Flow(
        Wrapped(torch.distributions.Independent(torch.distributions.Cauchy(torch.zeros(1), 1.0), 1)),
        randomised(Affine(1)),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_parts_pass(name):
    report = verify(GOOD[name]())
    assert report.ok, report


@pytest.mark.parametrize("make", [NICE, RealNVP])
@pytest.mark.parametrize("gain", [4.0, 16.0])
def test_stress_is_flagged_as_conditioning_and_is_no_bug(make, gain):
    report = verify(randomised(make(3, hidden=(32, 32)), gain))
    assert report.ok, report
    assert "rows ill-conditioned in float" in report.words


def test_a_wrong_mass_is_found():
    class Loud(Flow):
        def log_prob(self, x, context=None):
            return super().log_prob(x, context) + 0.01

    report = verify(Loud(StandardNormal(2), Scale(2)))
    assert "mass: wrong (∫p = 1.01005" in report.words
    assert any(not figure.ok for figure in report.requirements["sampler"])


def test_a_foreign_module_that_is_no_bijection_by_class():
    class Shift(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.ones(5))

        def forward(self, z):
            return torch.where(z.abs() < 1e15, z + self.by, z), z.new_zeros(z.shape[:-1])

        def inverse(self, x):
            return torch.where(x.abs() < 1e15, x - self.by, x), x.new_zeros(x.shape[:-1])

    report = verify(Shift())  # finds the five features by itself
    assert report.ok, report


def test_a_module_without_inverse_is_reported():
    report = verify(nn.Linear(2, 2))
    assert not report.ok
    assert "no method inverse" in str(report)


def test_an_unknown_event_shape_is_asked_for():
    class Odd(nn.Module):
        event_ndim = 3

        def forward(self, z):
            return z, z.new_zeros(z.shape[:-3])

        inverse = forward

    report = verify(Odd())
    assert not report.ok
    assert "pass x= with a few rows" in report.figures[0].detail
    assert verify(Odd(), torch.ones(4, 1, 2, 2)).ok


def test_x_and_context_are_used():
    flow = randomised(RealNVP(2, context=1, hidden=(8,), couplings=2))
    x = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [2.0, 1.0]])
    report = verify(flow, x, torch.zeros(1))
    assert report.ok, report
    found = report.requirements["contract"]
    assert next(f for f in found if f.name == "finite values (x → z)").tested == 2
    assert verify(flow, x, torch.zeros(3, 1)).ok


@pytest.mark.parametrize(("largest", "said"), [(1024, "right and cheap"), (256, "not compared and cheap")])
def test_large_events_are_compared_on_one_row_or_not_at_all(largest, said, monkeypatch):
    module = importlib.import_module("diffeo.diagnostics.verify")
    assert module._LARGEST == 1024
    monkeypatch.setattr(module, "_LARGEST", largest)
    report = verify(randomised(Affine(300)))
    assert report.ok, report
    assert f"determinant: {said}" in report.words


def test_growth_tells_linear_from_dense():
    report = verify(lambda d: RealNVP(d, hidden=(16,), couplings=2), dims=(2, 4, 8, 16, 32))
    growth = report.requirements["cheap"][-1]
    assert growth.ok
    assert ", linear;" in growth.detail

    class Dense(nn.Module):
        def __init__(self, features):
            super().__init__()
            self.event_shape = (features,)

        def forward(self, z):
            jacobian = torch.diag_embed(torch.full_like(z, 2.0))
            return 2 * z, torch.linalg.slogdet(jacobian).logabsdet

        def inverse(self, x):
            jacobian = torch.diag_embed(torch.full_like(x, 0.5))
            return x / 2, torch.linalg.slogdet(jacobian).logabsdet

    growth = verify(Dense, dims=(2, 4, 8, 16, 32)).requirements["cheap"][-1]
    assert not growth.ok
    assert "not linear" in growth.detail


def test_a_jacobian_by_autograd_inside_the_module_is_not_cheap():
    class ByAutograd(nn.Module):
        event_shape = (16,)

        def forward(self, z):
            return self._apply_map(z, 1.0)

        def inverse(self, x):
            return self._apply_map(x, -1.0)

        def _apply_map(self, z, sign):
            def f(v):
                return v * torch.exp(sign * torch.linspace(-1, 1, 16, dtype=v.dtype))

            jacobian = torch.func.vmap(torch.func.jacrev(f))(z.reshape(-1, 16))
            size = jacobian.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
            return f(z), size.reshape(z.shape[:-1])

    report = verify(ByAutograd())
    assert not report.requirements["cheap"][0].ok, report


def test_nothing_of_the_caller_is_touched():
    flow = RealNVP(2, hidden=(8,), couplings=2).train()
    before = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    state, dtype = torch.get_rng_state(), torch.get_default_dtype()
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    kept = x.clone()
    first = verify(flow, x, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    assert flow.training
    assert torch.equal(x, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in flow.state_dict().items())
    assert all(parameter.grad is None for parameter in flow.parameters())
    again = verify(flow, x, seed=3)
    assert [f.worst for f in first.figures] == [f.worst for f in again.figures]


def test_a_report_reads_well(capsys):
    report = verify(broken.WrongSign())
    text = str(report)
    assert text.startswith("WrongSign: FAILED\ndifferentiable: yes · invertible: yes · determinant: wrong")
    assert "✗" in text
    report.print()
    assert "WrongSign: FAILED" in capsys.readouterr().out
    assert report._repr_html_().startswith("<pre>WrongSign")
    found = json.loads(json.dumps(verify(broken.NoLogDet()).to_dict(), allow_nan=False))
    assert found["ok"] is False
    assert found["requirements"]["contract"][0]["detail"].startswith("forward returned a tensor")


def test_arrays_are_taken_as_fit_takes_them():
    flow = RealNVP(2, couplings=2, hidden=(8,))
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    report = verify(flow, x.numpy())
    assert report.ok, report
