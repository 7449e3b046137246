"""Laws by themselves: slopes, derivatives of both orders and modes, the change of a measure."""

import itertools
import math

import numpy as np
import pytest
import torch

from diffeo.diagnostics import checks
from diffeo.laws import (
    Additive,
    Affine,
    Bernstein,
    CircularSpline,
    CubicSpline,
    Gaussianization,
    Inverted,
    LinearSpline,
    LogisticMixture,
    MonotonicIntegral,
    NumericLaw,
    QuadraticSpline,
    RationalQuadratic,
    SigmoidalFlow,
    SumOfSquares,
    Tails,
)

LAWS = {
    "Additive": Additive(),
    "Affine": Affine(),
    "Affine, bound 0.5": Affine(bound=0.5),
    "Bernstein": Bernstein(6),
    "Bernstein, linear": Bernstein(7, tails="linear"),
    "CircularSpline": CircularSpline(3),
    "CubicSpline": CubicSpline(4),
    "CubicSpline, linear": CubicSpline(3, 2.0, "linear", min_bin=0.02, min_slope=0.05),
    "Gaussianization": Gaussianization(3),
    "Inverted": Inverted(Bernstein(4)),
    "LinearSpline": LinearSpline(4),
    "LinearSpline, linear": LinearSpline(5, 2.0, "linear", min_bin=0.05),
    "LogisticMixture": LogisticMixture(3),
    "MonotonicIntegral": MonotonicIntegral(2),
    "QuadraticSpline": QuadraticSpline(4),
    "QuadraticSpline, linear": QuadraticSpline(4, 2.0, "linear", min_bin=0.05, min_slope=0.1),
    "RationalQuadratic": RationalQuadratic(4),
    "RationalQuadratic, linear": RationalQuadratic(3, 1.0, "linear", min_bin=0.05, min_slope=0.1),
    "SigmoidalFlow": SigmoidalFlow(3),
    "SumOfSquares": SumOfSquares(2, 2),
    "Tails": Tails(),
}


@pytest.mark.parametrize("name", LAWS)
def test_slopes_keep_their_bounds(name):
    for dtype in (torch.float32, torch.float64):
        figure = checks.slope_bounds(LAWS[name], 50_000, dtype=dtype)
        assert figure.ok, figure


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("name", LAWS)
def test_derivatives_of_both_orders_in_every_mode(name, inverse):
    law = LAWS[name]
    generator = torch.Generator().manual_seed(0)
    # A search takes hundreds of evaluations: of those laws, one row of one element.
    n, d = (1, 1) if isinstance(law, NumericLaw | Inverted) else (4, 1) if hasattr(law, "knots") else (4, 3)
    u = 3 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    theta = 4 * torch.randn(n, d * law.n_params, generator=generator, dtype=torch.float64)
    figure = checks.gradcheck(
        checks.Steered(law, d), u, theta, inverse=inverse, second=True, every_mode=True
    )
    assert figure.ok, figure
    assert figure.tested == 2


@pytest.mark.parametrize("name", LAWS)
def test_a_law_carries_the_measure(name):
    """∫ φ(g⁻¹(v)) │∂g⁻¹/∂v│ dv over [a, b] is the normal mass of [g⁻¹(a), g⁻¹(b)]."""
    law = LAWS[name]
    generator = torch.Generator().manual_seed(2)
    theta = torch.randn(law.n_params, generator=generator, dtype=torch.float64)
    ends = torch.tensor([-1.5, 2.0], dtype=torch.float64)
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(200))
    # In parts: a derivative of a law may jump where u = 0, one of a spline's at each knot.
    zero = torch.zeros(1, dtype=torch.float64)
    cuts = law.knots(theta).ys if hasattr(law, "knots") else law.forward(zero, theta[None])[0]
    cuts = torch.cat([ends, cuts.clamp(*ends)]).sort().values
    mass = torch.zeros((), dtype=torch.float64)
    for a, b in itertools.pairwise(cuts):
        v = (a + b) / 2 + (b - a) / 2 * nodes
        u, log_slope = law.inverse(v, theta.expand(200, -1))
        density = torch.exp(-(u**2) / 2 + log_slope) / math.sqrt(2 * math.pi)
        mass = mass + (weights * density).sum() * (b - a) / 2
    u_ends, _ = law.inverse(ends, theta.expand(2, -1))
    wanted = torch.special.ndtr(u_ends[1]) - torch.special.ndtr(u_ends[0])
    torch.testing.assert_close(mass, wanted, rtol=1e-12, atol=1e-12)


def test_the_formulas_of_the_papers():
    u, theta = torch.tensor([1.5], dtype=torch.float64), torch.tensor([[0.4, -0.7]], dtype=torch.float64)
    v, log_slope = Additive().forward(u, theta[..., :1])
    assert (v.item(), log_slope.item()) == (pytest.approx(1.9), 0.0)
    v, log_slope = Affine(bound=2.0).forward(u, theta)
    # Real NVP (2017), equation 8: y₂ = x₂ ⊙ exp(s) + t.
    assert 0 < log_slope.item() < 0.4
    assert v.item() == pytest.approx(1.5 * math.exp(log_slope.item()) - 0.7)
