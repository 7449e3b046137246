"""Recipes of conditioners."""

from __future__ import annotations

from diffeo.bijections import Autoregressive
from diffeo.conditioners import MaskedMLP, MaskedResidualMLP
from diffeo.laws import Affine, RationalQuadratic
from golden.material import Made, chained


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
