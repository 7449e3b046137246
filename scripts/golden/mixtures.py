"""Recipes of what estimators are made of."""

from __future__ import annotations

from diffeo.bijections import Identity, Standardize
from diffeo.distributions import FullMixture, StandardNormal
from diffeo.estimator import Members, Stored
from diffeo.flows import Flow
from diffeo.laws import Affine
from golden.material import Made, chained, coupled, normal


def members() -> Made:
    """Return a mixture of a coupling flow, in a view of the data, and a normal."""
    x = 5 + 2 * normal(40, 2)
    flow, _, _ = chained(2, *coupled(2, Affine()), base=StandardNormal(2))
    assert isinstance(flow, Flow)
    view = Standardize(2, "moments").double().initialise(x)
    wide = FullMixture(2).place([1.0], [[5.0, 5.0]], [[[0.5, 0.0], [0.1, 0.5]]])
    normals = Flow(wide, Identity()).double()
    model = Members([view, Identity()], [flow, normals], [0, 1], [0, 1], [0.75, 0.25], ["flow", "normal"])
    return model.double().eval(), x, None


def joint() -> Made:
    """Return what a file of a FlowDensity of continuous columns holds."""
    model, x, context = members()
    assert isinstance(model, Members)
    return Stored(None, model, 0), x, context
