"""Recipes of base densities."""

from __future__ import annotations

from diffeo.bijections import Affine, Identity
from diffeo.distributions import (
    ConditionalNormal,
    FullMixture,
    FullNormal,
    Mixture,
    Resampled,
    StudentT,
    VonMises,
)
from diffeo.flows import Flow
from diffeo.tables import MixedRows
from golden.material import Made, chained, normal, ready


def full_normal() -> Made:
    """Return a flow on a normal with a full covariance."""
    return chained(3, Affine(3), base=FullNormal(3))


def full_mixture() -> Made:
    """Return a flow on a mixture of normals with full covariances, which the context moves."""
    x, context = normal(40, 2), normal(40, 3, seed=1)
    base = FullMixture(2, components=2, context=3)
    factor = [[[1.5, 0.0], [0.5, 2.0]], [[0.5, 0.0], [-1.0, 1.0]]]
    slope = [[0.5, 0.0, -0.5], [0.0, 0.25, 1.0]]
    base.place([0.25, 0.75], [[-1.0, 0.5], [1.0, 0.0]], factor, slope)
    return ready(Flow(base, Affine(2)), x, context), x, context


def student() -> Made:
    """Return a flow on Student's t."""
    return chained(2, Affine(2), base=StudentT(2))


def mixture() -> Made:
    """Return a flow on a mixture, started from its data."""
    return chained(2, Affine(2), base=Mixture(2, components=3))


def circular() -> Made:
    """Return a density on a torus."""
    return chained(2, Identity(), x=2 * normal(40, 2).tanh(), base=VonMises(2))


def resampled() -> Made:
    """Return a flow on a resampled normal."""
    base = Resampled(2, hidden=(4,), truncation=10, steepness=4.0, nodes=64)
    return chained(2, Affine(2), base=base)


def conditional() -> Made:
    """Return a flow on a normal that its context moves."""
    x, context = normal(40, 2), normal(40, 3, seed=1)
    return ready(Flow(ConditionalNormal(2, 3, hidden=(4,)), Affine(2)), x, context), x, context


def mixed_rows() -> Made:
    """Return a flow on columns of numbers, each a mixture of normals given those before it."""
    base = MixedRows([1, 1, 1], [True] * 3, [False] * 3, hidden=6, blocks=1, components=2)
    return chained(3, Affine(3), base=base)
