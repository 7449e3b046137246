"""Layers that the compiled kernels know, with weights and rows that are not ordinary."""

from __future__ import annotations

import statistics

import pytest
import torch

from diffeo.bijections import Autoregressive, Chain, Coupling, Mask
from diffeo.bijections.fused import Fused, step_of
from diffeo.conditioners import MLP, MaskedMLP, MaskedResidualMLP, ResidualMLP
from diffeo.kernels.native import Pool, has_bfloat16
from diffeo.laws import Additive, Affine, Inverted, RationalQuadratic

FEATURES, ROWS = 7, 75


HALF = pytest.mark.skipif(not has_bfloat16(), reason="this processor does not multiply in bfloat16")


LAWS = {
    "additive": Additive(),
    "affine": Affine(),
    "spline": RationalQuadratic(5),
    "linear tails": RationalQuadratic(4, tails="linear"),
    "inverted spline": Inverted(RationalQuadratic(8)),
}


NETWORKS = {
    **{
        f"MLP {name}": lambda n, c, name=name: Coupling(
            n,
            MLP(4, 3, n.n_params, hidden=(33, 20), activation=name, context=c),
            Mask.alternating(FEATURES),
        )
        for name in ("relu", "silu", "tanh", "gelu", "elu", "leaky_relu")
    },
    "residual": lambda n, c: Coupling(
        n, ResidualMLP(3, 4, n.n_params, width=20, context=c), Mask.halves(FEATURES)
    ),
    # So wide that products skip what ReLU made 0: panels of several vectors, the last of them not full.
    "MLP, wide": lambda n, c: Coupling(
        n, MLP(4, 3, n.n_params, hidden=(150, 70), context=c), Mask.alternating(FEATURES)
    ),
    "residual, wide": lambda n, c: Coupling(
        n, ResidualMLP(3, 4, n.n_params, width=75, context=c), Mask.halves(FEATURES)
    ),
    "masked, wide": lambda n, c: Autoregressive(
        n, MaskedMLP(FEATURES, n.n_params, hidden=(90, 133), context=c, order=[3, 1, 0, 2, 6, 5, 4])
    ),
    "masked": lambda n, c: Autoregressive(
        n, MaskedMLP(FEATURES, n.n_params, hidden=(40, 33), context=c, order=[3, 1, 0, 2, 6, 5, 4])
    ),
    "masked, direct": lambda n, c: Autoregressive(
        n, MaskedMLP(FEATURES, n.n_params, hidden=(4,), context=c, order="descending")
    ),
    "masked, residual": lambda n, c: Autoregressive(
        n, MaskedResidualMLP(FEATURES, n.n_params, width=18, context=c)
    ),
    "a graph": lambda n, c: Autoregressive(
        n,
        MaskedMLP(
            FEATURES,
            n.n_params,
            hidden=(30,),
            context=c,
            adjacency=[[i > j and (i + j) % 3 > 0 for j in range(FEATURES)] for i in range(FEATURES)],
        ),
    ),
}


def stirred(module, gain=0.2):
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=draws) * gain)
    return module


def fused_of(layer, *, half=False):
    pool = Pool()
    step = step_of(layer, pool, half=half, training=True)
    assert step is not None
    return Fused([step], pool)


def rows(context=0):
    draws = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(ROWS, FEATURES, generator=draws)
    return x, torch.randn(ROWS, context, generator=draws) if context else None


def derivatives(bijection, parameters, x, context, *, inverse):
    """Return value, log-determinant, and the gradients of one fixed sum of them."""
    draws = torch.Generator().manual_seed(2)
    weights = torch.randn(ROWS, FEATURES + 1, generator=draws).to(x.dtype)
    x = x.detach().clone().requires_grad_()
    given = [x] if context is None else [x, context.detach().clone().requires_grad_()]
    value, log_det = (bijection.inverse if inverse else bijection)(*given)
    total = (value * weights[:, 1:]).sum() + (log_det * weights[:, 0]).sum()
    return [value, log_det, *torch.autograd.grad(total, [*given, *parameters])]


def as_right(found, plain, truth):
    """Hold the kernels' float32 to torch's, both measured against float64.

    Where a bin is narrow either may lose a few digits more than the other: nine entries in ten decide.
    """
    ratios = []
    for own, other, right in zip(found, plain, truth, strict=True):
        size = 1 + right.detach().abs().max()
        own, other = ((each - right).detach().abs().flatten() / size for each in (own, other))
        assert own.max() <= 1e-4 + 4 * other.max()
        ratios.append(float((own.quantile(0.9) + 1e-7) / (other.quantile(0.9) + 1e-7)))
    assert statistics.geometric_mean(ratios) <= 3


def stack(count, law, context=0, memory="full", gain=0.1):
    """Return couplings, with an autoregressive layer among them."""
    layers = [
        Coupling(
            law,
            MLP(m.n_passed, m.n_moved, law.n_params, hidden=(24, 24), context=context),
            m,
        )
        for m in (Mask.alternating(FEATURES, flip=k % 2 == 1) for k in range(count))
    ]
    middle = Autoregressive(law, MaskedMLP(FEATURES, law.n_params, hidden=(24,), context=context))
    layers[count // 2 : count // 2] = [middle]
    return stirred(Chain(*layers, memory=memory), gain)
