"""Splines against their papers, written a second time, bin by bin."""

import math

import numpy as np
import pytest
import torch

from diffeo.errors import ConfigError
from diffeo.laws import CubicSpline, LinearSpline, QuadraticSpline, RationalQuadratic


def shares(raw, least):
    weights = np.exp(raw - raw.max())
    return least + (1 - least * len(raw)) * weights / weights.sum()


def corners(shares, box):
    return np.concatenate([[0.0], np.cumsum(shares)]) * 2 * box - box


def rational_quadratic(theta, law):
    """Equations 4 and 5 of Neural Spline Flows."""
    k, limit = law.bins, -math.log(law.min_slope)
    xs = corners(shares(theta[:k], law.min_bin), law.bound)
    ys = corners(shares(theta[k : 2 * k], law.min_bin), law.bound)
    slopes = np.exp(limit * np.tanh(theta[2 * k :] / limit))
    if law.tails == "linear":
        slopes = np.concatenate([[1.0], slopes, [1.0]])

    def piece(j, u):
        w, h, d0, d1 = xs[j + 1] - xs[j], ys[j + 1] - ys[j], slopes[j], slopes[j + 1]
        s, xi = h / w, (u - xs[j]) / w
        below = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
        value = ys[j] + h * (s * xi**2 + d0 * xi * (1 - xi)) / below
        return value, s**2 * (d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2) / below**2

    return xs, slopes[[0, -1]], piece


def linear(theta, law):
    """Neural Importance Sampling, section 4.1: a density that is constant on each of K equal bins."""
    heights, xs = shares(theta, law.min_bin), np.linspace(-law.bound, law.bound, law.bins + 1)
    density = heights * law.bins

    def piece(j, u):
        return -law.bound + 2 * law.bound * heights[:j].sum() + (u - xs[j]) * density[j], density[j]

    return xs, density[[0, -1]], piece


def quadratic(theta, law):
    """Neural Importance Sampling, section 4.2: a density that is straight on each of K uneven bins."""
    widths = shares(theta[: law.bins], law.min_bin)
    xs, vertices = corners(widths, law.bound), np.exp(theta[law.bins :])
    if law.tails == "linear":
        # The edge vertices, c, are 1 after the whole is divided by its area: c is that area.
        area = np.trapezoid(np.concatenate([[0.0], vertices, [0.0]]), xs) / (2 * law.bound)
        c = area / (1 - (widths[0] + widths[-1]) / 2)
        vertices = np.concatenate([[c], vertices, [c]])
    density = vertices / (np.trapezoid(vertices, xs) / (2 * law.bound))
    density = law.min_slope + (1 - law.min_slope) * density

    def piece(j, u):
        here = np.interp(u, xs, density)
        before = np.trapezoid(density[: j + 1], xs[: j + 1])
        return -law.bound + before + (density[j] + here) / 2 * (u - xs[j]), here

    return xs, density[[0, -1]], piece


def cubic(theta, law):
    """Cubic-Spline Flows, section 3: a (u − x)³ + b (u − x)² + c (u − x) + d, with Steffen's slopes."""
    k = law.bins
    xs = corners(shares(theta[:k], law.min_bin), law.bound)
    ys = corners(shares(theta[k : 2 * k], law.min_bin), law.bound)
    h, s = np.diff(xs), np.diff(ys) / np.diff(xs)
    inner = [
        2 * min(s[i - 1], s[i], (s[i - 1] * h[i] + s[i] * h[i - 1]) / (h[i - 1] + h[i]) / 2)
        for i in range(1, k)
    ]
    if law.tails == "linear":
        first, last = (min(1.0, (3 - law.min_slope) * mean) for mean in (s[0], s[-1]))
    else:
        limit = math.log((3 - law.min_slope) / (2 * law.min_slope))
        shift = limit * np.tanh(theta[2 * k :] / limit)
        first, last = 3 / (1 + 2 * np.exp(-shift)) * s[[0, -1]]
    d = np.array([first, *inner, last])

    def piece(j, u):
        a, b = (d[j] + d[j + 1] - 2 * s[j]) / h[j] ** 2, (3 * s[j] - 2 * d[j] - d[j + 1]) / h[j]
        r = u - xs[j]
        return a * r**3 + b * r**2 + d[j] * r + ys[j], 3 * a * r**2 + 2 * b * r + d[j]

    return xs, d[[0, -1]], piece


def reference(u, theta, law, spline):
    """The value and log-slope of one number, in plain Python."""
    xs, edges, piece = spline(theta, law)
    box = law.bound
    if abs(u) > box:
        if law.tails == "linear":
            return u, 0.0
        slope = edges[0] if u < 0 else edges[1]
        return math.copysign(box, u) + slope * (u - math.copysign(box, u)), math.log(slope)
    value, slope = piece(min(int(np.searchsorted(xs, u, side="right")) - 1, law.bins - 1), u)
    return value, math.log(slope)


PAPERS = {
    RationalQuadratic: rational_quadratic,
    LinearSpline: linear,
    QuadraticSpline: quadratic,
    CubicSpline: cubic,
}


@pytest.mark.parametrize("kind", PAPERS)
@pytest.mark.parametrize("tails", ["matching", "linear"])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_it_is_the_papers(kind, tails, spread):
    law = kind(bins=5, bound=2.5, tails=tails)
    generator = torch.Generator().manual_seed(0)
    u = torch.linspace(-4, 4, 201, dtype=torch.float64)
    theta = spread * torch.randn(201, law.n_params, generator=generator, dtype=torch.float64)
    value, log_slope = law.forward(u, theta)
    wanted = [reference(float(a), b.numpy(), law, PAPERS[kind]) for a, b in zip(u, theta, strict=True)]
    torch.testing.assert_close(value, torch.tensor([v for v, _ in wanted], dtype=torch.float64))
    torch.testing.assert_close(log_slope, torch.tensor([s for _, s in wanted], dtype=torch.float64))
    back, log_back = law.inverse(value, theta)
    # Where g is flat, many u have nearly the same v: what must agree is v.
    again, log_again = law.forward(back, theta)
    torch.testing.assert_close(again, value, rtol=0, atol=1e-12)
    assert ((back - u).abs() <= 1e-12 * (1 + torch.exp(-log_slope))).all()
    steady = (log_again - log_slope).abs() < 1e-6  # a linear spline's slope jumps at its knots
    assert steady.sum() >= 200
    torch.testing.assert_close(log_back[steady], -log_again[steady], rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", PAPERS)
def test_tails_go_on_with_the_slope_of_the_edge(kind):
    law = kind(bins=4, bound=1.0)
    theta = torch.randn(law.n_params, generator=torch.Generator().manual_seed(0)).double()
    edge = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    inner = law.forward(edge * (1 - 1e-12), theta.expand(2, -1))
    outer = law.forward(edge * (1 + 1e-12), theta.expand(2, -1))
    torch.testing.assert_close(inner[0], outer[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(inner[1], outer[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [RationalQuadratic, QuadraticSpline])
def test_linear_tails_meet_the_identity_smoothly(kind):
    law = kind(bins=4, bound=1.0, tails="linear")
    theta = torch.randn(law.n_params, generator=torch.Generator().manual_seed(0)).double()
    edge = torch.tensor([-1.0, 1.0], dtype=torch.float64) * (1 - 1e-12)
    value, log_slope = law.forward(edge, theta.expand(2, -1))
    torch.testing.assert_close(value, edge, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_slope, torch.zeros_like(log_slope), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", PAPERS)
@pytest.mark.parametrize(
    "wrong", [{"bins": 0}, {"bins": 2.5}, {"bound": 0.0}, {"tails": "flat"}, {"min_bin": 0.2}]
)
def test_what_is_refused(kind, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("kind", [RationalQuadratic, QuadraticSpline, CubicSpline])
def test_what_slopes_are_refused(kind):
    with pytest.raises(ConfigError, match="min_slope"):
        kind(min_slope=1.0)


def test_one_parabola_between_slopes_of_one_is_refused():
    with pytest.raises(ConfigError, match=r"bins=1.*tails='matching'"):
        QuadraticSpline(bins=1, tails="linear")
