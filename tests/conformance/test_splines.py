"""The rational-quadratic spline against its paper, written a second time, bin by bin."""

import math

import numpy as np
import pytest
import torch

from diffeo.errors import ConfigError
from diffeo.laws import RationalQuadratic


def reference(u, theta, law):
    """Equations 4 and 5 of Neural Spline Flows, for one number, in plain Python."""
    k, box = law.bins, law.bound
    limit = -math.log(law.min_slope)

    def shares(raw):
        weights = np.exp(raw - raw.max())
        return law.min_bin + (1 - law.min_bin * k) * weights / weights.sum()

    xs = np.concatenate([[0.0], np.cumsum(shares(theta[:k]))]) * 2 * box - box
    ys = np.concatenate([[0.0], np.cumsum(shares(theta[k : 2 * k]))]) * 2 * box - box
    slopes = np.exp(limit * np.tanh(theta[2 * k :] / limit))
    if law.tails == "linear":
        slopes = np.concatenate([[1.0], slopes, [1.0]])
    if u < -box:
        return -box + slopes[0] * (u + box), math.log(slopes[0])
    if u > box:
        return box + slopes[-1] * (u - box), math.log(slopes[-1])
    j = min(int(np.searchsorted(xs, u, side="right")) - 1, k - 1)
    w, h, d0, d1 = xs[j + 1] - xs[j], ys[j + 1] - ys[j], slopes[j], slopes[j + 1]
    s, xi = h / w, (u - xs[j]) / w
    below = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
    value = ys[j] + h * (s * xi**2 + d0 * xi * (1 - xi)) / below
    slope = s**2 * (d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2) / below**2
    return value, math.log(slope)


@pytest.mark.parametrize("tails", ["matching", "linear"])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_it_is_the_papers(tails, spread):
    law = RationalQuadratic(bins=5, bound=2.5, tails=tails)
    generator = torch.Generator().manual_seed(0)
    u = torch.linspace(-4, 4, 201, dtype=torch.float64)
    theta = spread * torch.randn(201, law.n_params, generator=generator, dtype=torch.float64)
    value, log_slope = law.forward(u, theta)
    wanted = [reference(float(a), b.numpy(), law) for a, b in zip(u, theta, strict=True)]
    torch.testing.assert_close(value, torch.tensor([v for v, _ in wanted], dtype=torch.float64))
    torch.testing.assert_close(log_slope, torch.tensor([s for _, s in wanted], dtype=torch.float64))
    back, log_back = law.inverse(value, theta)
    # Where g is flat, many u have nearly the same v: what must agree is v.
    again, log_again = law.forward(back, theta)
    torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_back, -log_again, rtol=0, atol=1e-9)
    assert ((back - u).abs() <= 1e-12 * (1 + torch.exp(-log_slope))).all()


def test_tails_go_on_with_the_slope_of_the_edge():
    law = RationalQuadratic(bins=4, bound=1.0)
    theta = torch.randn(law.n_params, generator=torch.Generator().manual_seed(0)).double()
    edge = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    inner = law.forward(edge * (1 - 1e-12), theta.expand(2, -1))
    outer = law.forward(edge * (1 + 1e-12), theta.expand(2, -1))
    torch.testing.assert_close(inner[0], outer[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(inner[1], outer[1], rtol=0, atol=1e-6)


def test_slopes_keep_their_bounds():
    from diffeo.diagnostics import checks

    for law in (RationalQuadratic(), RationalQuadratic(3, 1.0, "linear", min_bin=0.05, min_slope=0.1)):
        for dtype in (torch.float32, torch.float64):
            figure = checks.slope_bounds(law, 50_000, dtype=dtype)
            assert figure.ok, figure


@pytest.mark.parametrize(
    "wrong",
    [{"bins": 0}, {"bins": 2.5}, {"bound": 0.0}, {"tails": "flat"}, {"min_bin": 0.2}, {"min_slope": 1.0}],
)
def test_what_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RationalQuadratic(**wrong)
