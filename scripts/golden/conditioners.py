"""Recipes of conditioners."""

from __future__ import annotations

from diffeo.bijections import Autoregressive, Chain, Coupling, Mask
from diffeo.conditioners import CausalTransformer, MaskedMLP, MaskedResidualMLP, ResidualCNN, Transformer
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.laws import Affine, RationalQuadratic
from golden.material import Made, chained, normal, ready


def masked() -> Made:
    """Return a flow of autoregressive layers, in both orders, and of a graph."""
    spline = RationalQuadratic(3)
    near = [[False, False, False], [True, False, False], [False, True, False]]
    return chained(
        3,
        Autoregressive(Affine(), MaskedMLP(3, 2, hidden=(6,))),
        Autoregressive(
            spline, MaskedResidualMLP(3, spline.n_params, width=6, blocks=1, order="descending")
        ),
        Autoregressive(Affine(), MaskedMLP(3, 2, hidden=(5,), adjacency=near)),
    )


def attention() -> Made:
    """Return a flow of a causal and a full transformer, with context."""
    x, context = normal(40, 3), normal(40, 2, seed=1)
    causal = CausalTransformer(3, 2, width=4, blocks=1, heads=1, context=2, order=[1, 2, 0])
    mask = Mask.halves(3)
    full = Transformer(mask.n_passed, mask.n_moved, 2, width=4, blocks=1, heads=1, context=2)
    layers = Chain(Autoregressive(Affine(), causal), Coupling(Affine(), full, mask))
    return ready(Flow(StandardNormal(3), layers), x, context), x, context


def convolutional() -> Made:
    """Return a flow of couplings of images, filters with weight normalisation and without."""
    shape, x, context = (2, 3, 3), normal(40, 2, 3, 3), normal(40, 2, seed=1)
    board = ResidualCNN(shape, 2, width=4, blocks=1, context=2)
    plain = ResidualCNN(shape, 2, width=4, blocks=1, activation="relu", weight_norm=False)
    layers = Chain(
        Coupling(Affine(), board, Mask.checkerboard(shape)),
        Coupling(Affine(), plain, Mask.channelwise(shape, flip=True)),
    )
    return ready(Flow(StandardNormal(shape), layers), x, context), x, context
