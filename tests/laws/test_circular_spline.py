"""The circular spline: that of the line with both ends glued, carried over to every turn."""

import math

import pytest
import torch

from diffeo.errors import ConfigError
from diffeo.laws import CircularSpline, Inverted, RationalQuadratic

LAW = CircularSpline(5)


def drawn(rows=200, scale=2.0):
    generator = torch.Generator().manual_seed(1)
    u = math.pi * (2 * torch.rand(rows, generator=generator, dtype=torch.float64) - 1)
    return u, scale * torch.randn(rows, LAW.n_params, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_inside_it_is_the_spline_of_the_line_with_equal_slopes_at_both_ends(direction):
    u, theta = drawn()
    line = RationalQuadratic(5, math.pi, "matching")
    glued = torch.cat([theta, theta[..., 10:11]], -1)
    value, log_slope = getattr(LAW, direction)(u, theta)
    wanted, wanted_slope = getattr(line, direction)(u, glued)
    assert torch.equal(value, wanted)
    assert torch.equal(log_slope, wanted_slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_circle_is_mapped_onto_itself(dtype):
    _, theta = drawn()
    edge = torch.full((200,), math.pi, dtype=dtype)
    for sign in (-1, 1):
        for point in (edge, edge * (1 - torch.finfo(dtype).eps)):
            for direction in (LAW.forward, LAW.inverse):
                value, _ = direction(sign * point, theta.to(dtype))
                assert (value.abs() <= math.pi).all()
        value, _ = LAW.forward(sign * edge, theta.to(dtype))
        torch.testing.assert_close(value, sign * edge, rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_value_and_slope_are_continuous_where_the_circle_closes():
    _, theta = drawn()
    before = torch.full((200,), math.pi - 1e-9, dtype=torch.float64)
    after = -before
    (low, slope_low), (high, slope_high) = LAW.forward(before, theta), LAW.forward(after, theta)
    near = 1e-9 * (slope_low.exp() + slope_high.exp())
    assert ((high + 2 * math.pi - low).abs() <= 2 * near).all()
    edge = torch.full((200,), math.pi, dtype=torch.float64)
    torch.testing.assert_close(LAW.forward(-edge, theta)[1], LAW.forward(edge, theta)[1])


def test_every_turn_is_alike():
    u, theta = drawn()
    value, log_slope = LAW.forward(u, theta)
    for turns in (-3, 1, 40):
        away = 2 * math.pi * turns
        moved, slope = LAW.forward(u + away, theta)
        torch.testing.assert_close(moved, value + away, rtol=0, atol=1e-9)
        torch.testing.assert_close(slope, log_slope, rtol=0, atol=1e-7)
        back, _ = LAW.inverse(moved, theta)
        assert ((back - u - away).abs() <= 1e-11 * (1 + torch.exp(-log_slope))).all()


def test_what_is_no_angle_stays():
    theta = drawn(3)[1].requires_grad_()
    value, log_slope = LAW.forward(torch.tensor([math.inf, -math.inf, math.nan]).double(), theta)
    assert value[0] == math.inf
    assert value[1] == -math.inf
    assert value[2].isnan()
    assert log_slope.isfinite().all()
    (gradient,) = torch.autograd.grad(torch.where(value.isfinite(), value, 0.0).sum(), theta)
    assert gradient.isfinite().all()


def test_its_period_is_the_length_of_the_circle():
    assert LAW.period == 2 * math.pi
    assert CircularSpline(bound=0.5).period == 1.0
    assert Inverted(CircularSpline(bound=0.5)).period == 1.0
    assert RationalQuadratic().period is None


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"bound": -1.0}, {"min_bin": 0.5}, {"min_slope": 0.0}])
def test_what_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CircularSpline(**wrong)
