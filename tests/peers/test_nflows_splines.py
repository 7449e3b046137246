"""Splines beside those of nflows 0.14, with their parameters.

Inside the box, and with linear tails beyond it, all four give the same numbers once the parameters are
converted: where nflows has softplus + 10⁻³ for slopes, a softmax without a smallest share, or a sigmoid,
ours are an exponential of a bounded number, a softmax with one, or 3 / (1 + 2 exp(−r)). Four differences
are not parametrisations, and in each of them ours is right:

* the quadratic spline with linear tails: nflows halves the outer bins' share twice, so that its slope at
  the edge of the box is not the 1 that its comment promises, and jumps where the tail begins;
* the cubic spline with linear tails: nflows keeps the learnt slope at the edge, which jumps to 1 beyond;
  ours is 1 there wherever a monotone cubic can have it;
* the linear spline's inverse: nflows moves the last knot by 10⁻⁶ while it looks for the bin, and draws its
  bins in float32 whatever it is given: in the last bin it is off by 10⁻⁶ over the bin's share, in others
  by 10⁻⁸ where their number is no power of 2;
* the cubic spline's inverse: nflows drops the cubic term where it is below 10⁻³, and its formula for the
  root loses digits where roots nearly meet.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from nflows.transforms.splines.cubic import cubic_spline, unconstrained_cubic_spline
from nflows.transforms.splines.linear import linear_spline, unconstrained_linear_spline
from nflows.transforms.splines.quadratic import quadratic_spline, unconstrained_quadratic_spline
from nflows.transforms.splines.rational_quadratic import (
    rational_quadratic_spline,
    unconstrained_rational_quadratic_spline,
)
from torch.nn.functional import softplus

from diffeo.laws import CubicSpline, LinearSpline, QuadraticSpline, RationalQuadratic

from .copying import unbounded

BINS, BOX, ROWS = 6, 2.5, 400


@dataclass
class Pair:
    """One spline: nflows' function of (inputs, inverse), and our law with its parameters."""

    peer: object
    law: object
    theta: torch.Tensor


def drawn(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(ROWS, n, generator=generator, dtype=torch.float64) for n in sizes]


def given(function, *raw, tails, **names):
    """Return nflows' function on our box; ``names`` are its parameters."""
    where = (
        {"tails": "linear", "tail_bound": BOX}
        if tails
        else dict(zip(("left", "right", "bottom", "top"), (-BOX, BOX, -BOX, BOX), strict=True))
    )

    def call(inputs, inverse=False):
        return function(inputs, **names, inverse=inverse, **where)

    return call


def rational_quadratic(tails):
    widths, heights, slopes = drawn(BINS, BINS, BINS - 1 if tails else BINS + 1)
    law = RationalQuadratic(BINS, BOX, "linear" if tails else "matching")
    raw = unbounded((1e-3 + softplus(slopes)).log(), -math.log(law.min_slope))
    peer = given(
        unconstrained_rational_quadratic_spline if tails else rational_quadratic_spline,
        tails=tails,
        unnormalized_widths=widths,
        unnormalized_heights=heights,
        unnormalized_derivatives=slopes,
    )
    return Pair(peer, law, torch.cat([widths, heights, raw], -1))


def quadratic(tails):
    """In the box; nflows' two outer vertices, which it computes for linear tails, are given to ours."""
    widths, slopes = drawn(BINS, BINS - 1 if tails else BINS + 1)
    vertices = softplus(slopes) + 1e-3
    if tails:
        share = 1e-3 + (1 - 1e-3 * BINS) * widths.softmax(-1)
        first, last = share[:, :1] / 2, share[:, -1:] / 2  # half of the halves, below
        inner = ((vertices[:, :-1] + vertices[:, 1:]) / 2 * share[:, 1:-1]).sum(-1, keepdim=True)
        edge = (first * vertices[:, :1] / 2 + last * vertices[:, -1:] / 2 + inner) / (
            1 - first / 2 - last / 2
        )
        vertices = torch.cat([edge, vertices, edge], -1)
    peer = given(
        unconstrained_quadratic_spline if tails else quadratic_spline,
        tails=tails,
        unnormalized_widths=widths,
        unnormalized_heights=slopes,
    )
    return Pair(peer, QuadraticSpline(BINS, BOX), torch.cat([widths, vertices.log()], -1))


def cubic(tails):
    """In the box, where ours has learnt slopes at the edges with matching tails."""
    widths, heights, left, right = drawn(BINS, BINS, 1, 1)
    law = CubicSpline(BINS, BOX)
    limit = math.log((3 - law.min_slope) / (2 * law.min_slope))
    edges = unbounded(torch.cat([left, right], -1) + math.log(2), limit)
    peer = given(
        unconstrained_cubic_spline if tails else cubic_spline,
        tails=tails,
        unnormalized_widths=widths,
        unnormalized_heights=heights,
        unnorm_derivatives_left=left,
        unnorm_derivatives_right=right,
    )
    return Pair(peer, law, torch.cat([widths, heights, edges], -1))


def linear(tails, bins=8):
    (raw,) = drawn(bins)
    law = LinearSpline(bins, BOX, "linear" if tails else "matching", min_bin=1e-9)
    shares = (raw.softmax(-1) - law.min_bin) / (1 - bins * law.min_bin)
    function = unconstrained_linear_spline if tails else linear_spline
    return Pair(given(function, tails=tails, unnormalized_pdf=raw), law, shares.log())


SPLINES = {
    "rational-quadratic": rational_quadratic,
    "quadratic": quadratic,
    "cubic": cubic,
    "linear": linear,
}
INSIDE = torch.linspace(-BOX, BOX, ROWS, dtype=torch.float64)


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("name", SPLINES)
def test_value_and_log_slope_are_those_of_nflows(name, tails):
    pair = SPLINES[name](tails)
    wanted, wanted_slope = pair.peer(INSIDE)
    value, log_slope = pair.law.forward(INSIDE, pair.theta)
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_slope, wanted_slope, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tails", [False, True])
@pytest.mark.parametrize("name", SPLINES)
def test_the_inverse_is_that_of_nflows(name, tails):
    pair = SPLINES[name](tails)
    wanted, wanted_slope = pair.peer(INSIDE, inverse=True)
    value, log_slope = pair.law.inverse(INSIDE, pair.theta)
    back, _ = pair.law.forward(value, pair.theta)
    torch.testing.assert_close(back, INSIDE, rtol=0, atol=1e-12)
    # What nflows brings back itself: all but the last bin of the linear one, and two roots of cubics.
    again, _ = pair.peer(wanted.clamp(-BOX, BOX))
    right = (again - INSIDE).abs() <= 1e-11
    assert right.sum() >= {"linear": 0.7, "cubic": 0.99}.get(name, 1.0) * ROWS
    scale = log_slope.exp().clamp(min=1.0)  # a rounding of v, seen in u
    assert ((value - wanted).abs() <= 1e-10 * scale)[right].all()
    assert ((log_slope - wanted_slope).abs() <= 1e-9 * scale)[right].all()


@pytest.mark.parametrize("name", SPLINES)
def test_linear_tails_are_the_identity(name):
    outside = torch.cat([INSIDE[:200] - 2 * BOX, INSIDE[200:] + 2 * BOX])
    law = type(SPLINES[name](True).law)(4, BOX, "linear")
    theta = drawn(law.n_params)[0]
    for value, log_slope in (law.forward(outside, theta), law.inverse(outside, theta)):
        assert torch.equal(value, outside)
        assert not log_slope.any()
    for inverse in (False, True):
        value, log_slope = SPLINES[name](True).peer(outside, inverse=inverse)
        assert torch.equal(value, outside)
        assert not log_slope.any()


def test_the_linear_spline_of_nflows_does_not_come_back():
    for bins, others in ((8, 1e-13), (6, 1e-6)):
        pair = linear(False, bins)
        value, log_slope = pair.law.inverse(INSIDE, pair.theta)
        error = (value - pair.peer(INSIDE, inverse=True)[0]).abs()
        last = value > BOX - 2 * BOX / bins
        assert 1e-6 < error[last].max() < 1e-6 * 2 * BOX * log_slope[last].exp().max()
        assert error[~last].max() < others
        assert (error[~last].max() > 1e-9) == (bins == 6)
        torch.testing.assert_close(pair.law.forward(value, pair.theta)[0], INSIDE, rtol=0, atol=1e-14)


def test_the_nearly_straight_cubic_of_nflows_does_not_come_back():
    law = CubicSpline(BINS, BOX)
    theta = 1e-4 * drawn(law.n_params)[0]
    limit = math.log((3 - law.min_slope) / (2 * law.min_slope))
    edges = theta[:, -2:] - math.log(2)
    theta[:, -2:] = unbounded(theta[:, -2:], limit)
    peer = given(
        cubic_spline,
        tails=False,
        unnormalized_widths=theta[:, :BINS],
        unnormalized_heights=theta[:, BINS : 2 * BINS],
        unnorm_derivatives_left=edges[:, :1],
        unnorm_derivatives_right=edges[:, 1:],
    )
    torch.testing.assert_close(peer(INSIDE)[0], law.forward(INSIDE, theta)[0], rtol=0, atol=1e-12)
    value, _ = law.inverse(INSIDE, theta)
    torch.testing.assert_close(law.forward(value, theta)[0], INSIDE, rtol=0, atol=1e-14)
    error = (peer(peer(INSIDE)[0], inverse=True)[0] - INSIDE).abs()
    assert error.max() > 1e-7


def test_the_quadratic_of_nflows_does_not_meet_its_linear_tails():
    pair = quadratic(True)
    ours = QuadraticSpline(BINS, BOX, "linear")
    theta = torch.cat([pair.theta[:, :BINS], pair.theta[:, BINS + 1 : -1]], -1)
    for edge in (-BOX, BOX):
        at = torch.full((ROWS,), edge, dtype=torch.float64)
        assert (pair.peer(at)[1].abs() > 0.05).double().mean() > 0.5
        torch.testing.assert_close(ours.forward(at, theta)[1], torch.zeros_like(at), rtol=0, atol=1e-12)


def test_the_cubic_of_nflows_does_not_meet_its_linear_tails():
    pair = cubic(True)
    ours = CubicSpline(BINS, BOX, "linear")
    theta = pair.theta[:, : 2 * BINS]
    knots = ours.knots(theta)
    for edge, k in ((-BOX, 0), (BOX, -1)):
        at = torch.full((ROWS,), edge, dtype=torch.float64)
        assert (pair.peer(at)[1].abs() > 0.05).double().mean() > 0.9
        mean = (knots.ys.diff(dim=-1) / knots.xs.diff(dim=-1))[:, k]
        can = (3 - ours.min_slope) * mean >= 1
        log_slope = ours.forward(at, theta)[1]
        torch.testing.assert_close(log_slope[can], torch.zeros_like(at[can]), rtol=0, atol=1e-12)
        assert can.double().mean() > 0.5
