"""Masked networks depend on what they declare, and on all of it; layers go by levels."""

import numpy as np
import pytest
import torch

from diffeo.bijections import Autoregressive
from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP
from diffeo.errors import ConfigError, DiffeoError
from diffeo.laws import Affine, RationalQuadratic

TREE = [[False] * 4, [True, False, False, False], [True, False, False, False], [False, True, True, False]]


def shaken(net):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net.eval()


def dependence(net, context=None):
    """Return where any parameter of feature i changes with feature j, at several points."""
    seen = torch.zeros(net.in_features, net.in_features, dtype=torch.bool)
    for x in 3 * torch.randn(8, net.in_features):
        slopes = torch.autograd.functional.jacobian(lambda at: net(at, context), x)
        seen |= (slopes != 0).any(1)
    return seen.numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {"order": "ascending"},
        {"order": "descending"},
        {"order": [2, 0, 3, 1]},
        {"adjacency": TREE},
        {"order": "ascending", "hidden": ()},
        {"order": [3, 1, 2, 0], "hidden": (2,)},
        {"order": "ascending", "hidden": (5, 2, 7)},
    ],
)
@pytest.mark.parametrize("context", [0, 2])
def test_it_depends_on_what_is_declared_and_on_all_of_it(settings, context):
    net = shaken(MaskedMLP(4, 3, context=context, activation="tanh", **{"hidden": (24,), **settings}))
    given = torch.randn(context) if context else None
    assert np.array_equal(dependence(net, given), net.graph)


@pytest.mark.parametrize("settings", [{"order": "descending"}, {"adjacency": TREE}, {"width": 2}])
def test_the_residual_one_too(settings):
    net = shaken(MaskedResidualMLP(4, 2, activation="tanh", **{"width": 24, **settings}))
    assert np.array_equal(dependence(net), net.graph)


def test_every_feature_sees_its_context():
    net = shaken(MaskedMLP(3, 2, hidden=(12,), context=2))
    slopes = torch.autograd.functional.jacobian(lambda c: net(torch.zeros(3), c), torch.zeros(2))
    assert (slopes != 0).any(1).all()


def test_a_graphs_levels_are_as_few_as_can_be():
    assert MaskedMLP(4, 1, adjacency=TREE).levels == [[0], [1, 2], [3]]
    assert MaskedMLP(3, 1, adjacency=[[False] * 3] * 3).levels == [[0, 1, 2]]
    assert MaskedMLP(3, 1, order=[2, 0, 1]).levels == [[2], [0], [1]]


@pytest.mark.parametrize("adjacency", [None, TREE])
def test_the_jacobian_is_exactly_zero_outside_the_graph(adjacency):
    layer = Autoregressive(RationalQuadratic(4), MaskedMLP(4, 12 + 1, hidden=(16,), adjacency=adjacency))
    shaken(layer)
    allowed = torch.from_numpy(layer.conditioner.graph) | torch.eye(4, dtype=torch.bool)
    for x in torch.randn(5, 4):
        slopes = torch.autograd.functional.jacobian(lambda at: layer.inverse(at)[0], x)
        assert (slopes[~allowed] == 0).all()
        assert (slopes[allowed] != 0).all()


def test_an_order_given_as_an_array_is_recorded_as_numbers():
    from diffeo.registry import from_spec, to_spec

    net = MaskedMLP(3, 1, order=np.array([2, 0, 1]))
    assert to_spec(net)["args"]["order"] == [2, 0, 1]
    again = from_spec(to_spec(MaskedMLP(4, 1, adjacency=torch.tensor(TREE))))
    assert again.graph.tolist() == TREE


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaskedMLP(0, 1), "features=0"),
        (lambda: MaskedMLP(3, 0), "n_params=0"),
        (lambda: MaskedMLP(10_001, 1), "features=10001 must be at most 10000"),
        (lambda: MaskedMLP(3, 1, order="random"), "order='random'"),
        (lambda: MaskedMLP(3, 1, order=[0, 1, 1]), "each of the 3 features once"),
        (lambda: MaskedMLP(2, 1, adjacency=[[False, True], [True, False]]), "in a circle"),
        (lambda: MaskedMLP(2, 1, adjacency=[[True, False], [False, False]]), r"features \[0\]"),
        (lambda: MaskedMLP(2, 1, adjacency=[[0, 1], [0, 0]]), "2 rows of 2 booleans"),
        (lambda: MaskedMLP(2, 1, hidden=3), "hidden=3"),
        (lambda: MaskedResidualMLP(2, 1, width=0), "width=0"),
        (lambda: Autoregressive(Affine(), MLP(2, 2, n_params=2)), "conditioner is a MLP"),
        (lambda: Autoregressive(Affine(), MaskedMLP(2, 3)), "n_params=3; expected 2"),
        (lambda: Autoregressive(Affine(), MaskedMLP(2, 2))(torch.zeros(3)), r"\(\.\.\., 2\)"),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(DiffeoError, match=message) as caught:
        build()
    assert isinstance(caught.value, ConfigError | ValueError)
