"""Declared zeros of Jacobians: what declares them, and that a layer which breaks its word is caught."""

import numpy as np
import pytest
import torch

from diffeo.bijections import BNAF, Autoregressive, Chain, Coupling, Inverse, Mask, Scale, Split, Triangular
from diffeo.conditioners import CausalTransformer, MaskedMLP, ResidualCNN
from diffeo.diagnostics import checks
from diffeo.diagnostics.figure import Figure
from diffeo.laws import Affine, RationalQuadratic, SumOfSquares
from diffeo.testing import CASES, Variant, keep, merged, stress

TREE = [[False] * 4, [True, False, False, False], [True, False, False, False], [False, True, True, False]]


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


def small(**settings):
    return MaskedMLP(4, 2, hidden=(12,), activation="tanh", **settings)


LAYERS = {
    "an order": lambda: Autoregressive(Affine(), small(order=[2, 0, 3, 1])),
    "a graph": lambda: Autoregressive(Affine(), small(adjacency=TREE)),
    "a transformer": lambda: Autoregressive(Affine(), CausalTransformer(4, 2, width=8, heads=2)),
    "a search": lambda: Autoregressive(
        SumOfSquares(2, 2), MaskedMLP(4, SumOfSquares(2, 2).n_params, hidden=(12,))
    ),
    "BNAF": lambda: BNAF(4, (3,)),
    "upper": lambda: Triangular(4, lower=False),
}


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_patterns_are_kept_and_no_wider_than_need_be(name, inverse):
    layer = stress(LAYERS[name]()).double()
    value = torch.randn(6, 4, dtype=torch.float64)
    figure = checks.jacobian_zeros(layer, value, inverse=inverse)
    assert figure.ok, figure
    may = layer.pattern(inverse=inverse).may
    assert figure.tested == 6 * (~may).sum()
    found = checks.determinant.jacobian(layer, value, inverse=inverse)
    assert np.array_equal((found != 0).any(0).numpy(), may)


def test_a_graph_reaches_further_in_the_other_direction():
    layer = LAYERS["a graph"]()
    there, back = layer.pattern(inverse=True).may, layer.pattern(inverse=False).may
    assert (there[3, 0], back[3, 0]) == (False, True)
    assert np.array_equal(layer.conditioner.graph | np.eye(4, dtype=bool), there)


@pytest.mark.parametrize("mask", ["checkerboard", "channelwise"])
def test_a_coupling_keeps_what_it_passes(mask):
    part = getattr(Mask, mask)((2, 3, 4))
    layer = stress(Coupling(Affine(), ResidualCNN((2, 3, 4), 2, width=4), part))
    pattern = layer.pattern(inverse=False)
    assert np.array_equal(pattern.kept, part.tensor().flatten().numpy())
    for inverse in (False, True):
        figure = checks.jacobian_zeros(layer, torch.randn(3, 2, 3, 4), inverse=inverse)
        assert figure.ok, figure
        assert figure.tested == 3 * (12 * 23 + 12 + 12 * 11)


def test_what_a_split_does_not_see():
    inner = stress(Autoregressive(Affine(), small()))
    for part, zeros in ((inner, 6), (Scale(4), 0)):
        figure = checks.jacobian_zeros(Split(6, 4, part), torch.randn(5, 6))
        assert figure.ok, figure
        assert figure.tested == 5 * (zeros + 2 * 5 + 4 * 2 + 2)


class Ahead(MaskedMLP):
    """Its parameters see the feature that they move, a little."""

    def forward(self, x, context=None):
        return super().forward(x, context) + 1e-12 * x.unsqueeze(-1).roll(-1, -2)


def test_a_conditioner_that_looks_ahead_is_caught_with_its_layer():
    honest, ahead = Autoregressive(Affine(), small()), Autoregressive(Affine(), Ahead(4, 2, hidden=(8,)))
    x = torch.randn(5, 4, dtype=torch.float64)
    figure = checks.jacobian_zeros(Chain(honest, ahead), x, inverse=True)
    assert (figure.ok, figure.layer) == (False, "1: Autoregressive")
    assert 0 < figure.worst < 1e-10
    assert not checks.jacobian_zeros(Inverse(ahead), x).ok
    assert checks.jacobian_zeros(Inverse(honest), x).ok


class Touching(Coupling):
    """What it passes is changed by a rounding."""

    def inverse(self, x, context=None):
        z, log_det = super().inverse(x, context)
        return z * (1 + 1e-15), log_det


def test_a_coupling_that_touches_what_it_passes_is_caught():
    part = Mask.halves(4)
    layer = Touching(RationalQuadratic(3), MaskedMLP(2, RationalQuadratic(3).n_params), part)
    x = torch.randn(5, 4, dtype=torch.float64)
    figure = checks.jacobian_zeros(layer, x, inverse=True)
    assert figure.failed == 5 * 2
    assert checks.jacobian_zeros(layer, x).ok


def test_where_nothing_is_declared_nothing_is_judged():
    figure = checks.jacobian_zeros(Scale(3), torch.ones(2, 3))
    assert (figure.ok, figure.tested) == (True, 0)
    assert "not judged" in figure.detail


@pytest.mark.parametrize("name", ["conditioners.MaskedMLP", "laws.Affine, coupling, checkerboard"])
def test_it_is_a_promise_of_the_contract(name):
    case = CASES[name]
    figures = list(keep(Variant(case, case.sizes[-1]), figures=("A10",)))
    assert len(figures) == 2
    assert all(figure.ok and figure.tested > 50 for figure in figures)


def test_the_page_has_it_after_the_ninth():
    labels = ["A10", "", "A9", "B2", "A1"]
    found = merged(Figure("a", 0.0, 1.0, 1, 0, figure=label) for label in labels)
    assert [figure.figure for figure in found] == ["", "A1", "A9", "A10", "B2"]
