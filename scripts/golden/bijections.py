"""Recipes of bijections."""

from __future__ import annotations

import math

import torch

from diffeo.bijections import (
    BNAF,
    LU,
    QR,
    SVD,
    Affine,
    Autoregressive,
    Bounded,
    Chain,
    CircularShift,
    Continuous,
    Contractive,
    Coupling,
    Gaussianize,
    Inverse,
    InvertibleConv1x1,
    LeakyReLU,
    Mask,
    Orthogonal,
    Planar,
    Power,
    Radial,
    SinhArcsinh,
    Softplus,
    Split,
    Squeeze,
    Sylvester,
    Tanh,
    Triangular,
    Wrap,
)
from diffeo.conditioners import MLP, MaskedMLP
from diffeo.distributions import StandardNormal, Uniform
from diffeo.flows import Flow
from diffeo.laws import CircularSpline
from golden.material import Made, chained, normal, ready


def linear() -> Made:
    """Return a flow of linear maps."""
    return chained(
        3,
        LU(3),
        LU(3, permute="random", seed=2),
        Triangular(3),
        Triangular(3, lower=False),
        Orthogonal(3),
        Orthogonal(3, reflections=2),
        QR(3),
        SVD(3),
    )


def pointwise() -> Made:
    """Return a flow of elementwise maps, onto positive numbers."""
    layers = SinhArcsinh(2), Power(2), Power(2, exponent=0.7), LeakyReLU(0.3), Softplus()
    return chained(2, *layers, x=normal(40, 2).exp())


def bounded() -> Made:
    """Return a flow onto the open box (−1, 1)²."""
    return chained(2, Affine(2), Tanh(), x=0.7 * normal(40, 2).tanh())


def marginals() -> Made:
    """Return a flow onto columns of every kind of bound, one of them with a heavy tail."""
    x = normal(60, 4)
    x = x.exp() * x.new_tensor([1.0, 1.0, -1.0, 0.0]) + x.sinh() * x.new_tensor([0.0, 0.0, 0.0, 1.0])
    x[:, 0] = x[:, 0] / (1 + x[:, 0])
    low, high = [0.0, 0.0, None, None], [1.0, None, 0.0, None]
    return chained(4, Affine(4), Gaussianize(4, 6, low=low, high=high), x=x)


def sides() -> Made:
    """Return a flow onto (0, ∞) × (−∞, 2) × (−1, 1) × ℝ, a kind of side each."""
    y = normal(40, 4)
    x = torch.stack([y[:, 0].exp(), 2 - y[:, 1].exp(), y[:, 2].tanh(), y[:, 3]], -1)
    return chained(4, Affine(4), Bounded([0.0, None, -1.0, None], [None, 2.0, 1.0, None]), x=x)


def residual() -> Made:
    """Return a flow of layers whose way to the data is a search."""
    return chained(
        2,
        Planar(2, hidden=(4,)),
        Radial(2, hidden=(4,)),
        Sylvester(2, 1, hidden=(4,)),
        BNAF(2, (3,), steering=(4,)),
        Contractive(2, (4,), lipschitz=0.9),
    )


def scales() -> Made:
    """Return a flow of images of two scales, half of the channels factored out between them."""
    shape, inner = (1, 2, 4), (4, 1, 2)
    squeeze, second = Squeeze(shape), Split(inner, 2, Affine((2, 1, 2)))
    mix = InvertibleConv1x1(inner, permute="random")
    layers = Split(shape, 1, Chain(Inverse(squeeze), second, mix, squeeze))
    x = normal(40, *shape)
    return ready(Flow(StandardNormal(shape), layers), x), x, None


def torus() -> Made:
    """Return a density on a torus, of splines of the circle and rotations, in degrees."""
    law, mask = CircularSpline(4), Mask.halves(2)
    network = MLP(mask.n_passed, mask.n_moved, law.n_params, hidden=(4,), period=law.period)
    layers = (
        Autoregressive(law, MaskedMLP(2, law.n_params, hidden=(4,), period=law.period)),
        CircularShift(2, start=math.pi),
        Coupling(law, network, mask),
        CircularShift(2, conditioner=MLP(0, 2, 1)),
        Wrap(low=0.0, high=360.0),
    )
    base = Uniform(2, low=-math.pi, high=math.pi)
    return chained(2, *layers, x=180 + 170 * normal(40, 2).tanh(), base=base)


def continuous() -> Made:
    """Return a flow of continuous layers, by both solvers."""
    return chained(
        2,
        Continuous(2, (4,), rtol=1e-10, atol=1e-10),
        Continuous(2, (3, 4), solver="rk4", steps=4, trace="hutchinson", trained_by="matching"),
    )
