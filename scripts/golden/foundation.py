"""Recipes of the foundation: NICE, Real NVP, affine layers, images, a table."""

from __future__ import annotations

from typing import Any

import polars as pl
import torch
from torch import distributions as td

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
from diffeo.conditioners import MLP, ResidualMLP
from diffeo.distributions import DiagonalNormal, StandardNormal, Uniform, Wrapped
from diffeo.flows import NICE, Flow, RealNVP
from diffeo.laws import Additive, RationalQuadratic
from diffeo.laws import Affine as AffineLaw
from diffeo.tables import Architecture, fit_table
from golden.material import Made, normal, ready


def nice() -> Made:
    """Return NICE as published, on three features."""
    x = normal(40, 3).float()
    return ready(NICE(3, hidden=(8,)), x), x, None


def real_nvp() -> Made:
    """Return Real NVP with a context, in the units of its data."""
    x, context = (1e3 + 50 * normal(40, 4)).float(), normal(40, 2, seed=1).float()
    flow = RealNVP(4, context=2, couplings=3, hidden=(8,)).then(Standardize(4))
    return ready(flow, x, context), x, context


def vectors() -> Made:
    """Return a flow with each bijection of vectors and each conditioner, in float64."""
    x = normal(40, 3).cumsum(-1).exp() + 0.5
    given = Mask.given([True, False, True])
    network = ResidualMLP(2, 1, n_params=2, width=6, blocks=1, activation="tanh")
    halves = Mask.halves(3, flip=True)
    mlp = MLP(halves.n_passed, halves.n_moved, n_params=1, hidden=(6,), activation="gelu")
    layers = Chain(
        Identity(),
        Inverse(Scale(3)),
        Affine(3, bound=4.0),
        Chain(Permutation([2, 0, 1]), ActNorm(3)),
        Coupling(AffineLaw(bound=1.5), network, given),
        Coupling(Additive(), mlp, halves),
        BatchNorm(3, momentum=0.2, eps=1e-4),
        Whiten(3),
        Whiten(3, "cholesky", floor=1e-8),
        Standardize(3, "moments"),
        Log(shift=0.25),
    )
    return ready(Flow(DiagonalNormal(3), layers), x), x, None


def images() -> Made:
    """Return a flow of small images, in a box."""
    x = normal(40, 2, 2, 3).sigmoid().float()
    layers: list[Any] = []
    for mask in (Mask.checkerboard((2, 2, 3)), Mask.channelwise((2, 2, 3), flip=True)):
        network = MLP(mask.n_passed, mask.n_moved, n_params=2, hidden=(6,))
        layers += [Coupling(AffineLaw(), network, mask), ActNorm((2, 2, 3))]
    return (
        ready(Flow(StandardNormal((2, 2, 3)), Chain(*layers, Logit(alpha=0.05, event_ndim=3))), x),
        x,
        None,
    )


def wrapped() -> Made:
    """Return a flow on a mixture of torch's normals."""
    x = normal(40, 2)
    centres = td.Independent(td.Normal(normal(3, 2, seed=1), 0.7), 1)
    base = Wrapped(td.MixtureSameFamily(td.Categorical(torch.tensor([0.2, 0.3, 0.5])), centres))
    return ready(Flow(base, Affine(2)), x), x, None


def box() -> Made:
    """Return a flow on a uniform base."""
    x = 0.4 * normal(40, 2).tanh()
    return ready(Flow(Uniform(2, low=-3.0, high=3.0), Scale(2)), x), x, None


def splines() -> Made:
    """Return a flow of rational-quadratic couplings, with both kinds of tails."""
    x = normal(40, 3).float()
    layers: list[Any] = []
    for k, law in enumerate((RationalQuadratic(), RationalQuadratic(5, 2.0, "linear", min_bin=0.01))):
        mask = Mask.halves(3, flip=k == 1)
        network = MLP(mask.n_passed, mask.n_moved, n_params=law.n_params, hidden=(6,))
        layers.append(Coupling(law, network, mask))
    return ready(Flow(StandardNormal(3), Chain(*layers)), x), x, None


def table() -> Made:
    """Return the model of a table, fitted for a few steps."""
    rows = normal(60, 3).cumsum(-1) * torch.tensor([1.0, 1e3, 1e-4], dtype=torch.float64) + 5.0
    frame = pl.DataFrame(rows.numpy(), schema=["width (m)", "größe", "c"])
    config = diffeo.tables.table_training(max_steps=20, seed=1)
    small = Architecture(couplings=2, hidden=(6,))
    model, _ = fit_table(frame, architecture=small, config=config, progress=False)
    return model, rows, None
