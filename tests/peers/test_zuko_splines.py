"""NSF and NCSF beside zuko 1.6, with its weights: densities, noise and samples.

The spline is the same; zuko bounds its parameters by a softsign where we take a tanh, and has no smallest
bin: the parameters are converted. Two differences of NCSF are not parametrisations, and in both ours is
right:

* zuko's base is uniform on a box 10⁻⁵ wider than the circle on each side, so that its density on the circle
  integrates to one less 3.2 · 10⁻⁶ per feature, and some of its draws lie off the circle; ours integrates
  to one;
* zuko's conditioners see the angle as a number, so that its density jumps where the circle closes; ours see
  its cosine and sine. (Here our layers are given zuko's conditioners, to compare the rest.)

One is a choice: the slope at the glued end of zuko's spline is always 1, ours is learnt.
"""

import math
from dataclasses import dataclass

import pytest
import torch
import zuko

from diffeo.bijections import Autoregressive, Chain
from diffeo.distributions import StandardNormal, Uniform
from diffeo.flows import NCSF, Flow
from diffeo.kernels.circle import wrap
from diffeo.laws import CircularSpline, Inverted, Law, RationalQuadratic
from diffeo.testing import stress

from .copying import Converted, copied, shaken, unbounded

BINS, SLOPE, LEAST = 8, 1e-3, 1e-6


def converted(law):
    """Return our spline under zuko's parameters: K widths, K heights, K − 1 slopes."""

    def share(raw):
        soft = (raw / (1 + (2 * raw / math.log(SLOPE)).abs())).softmax(-1)
        return ((soft - LEAST) / (1 - BINS * LEAST)).log()

    def convert(theta):
        widths, heights, slopes = theta.split([BINS, BINS, BINS - 1], -1)
        log_slopes = slopes / (1 + (slopes / math.log(SLOPE)).abs())
        raw = unbounded(log_slopes, -math.log(law.min_slope))
        if isinstance(law, CircularSpline):  # the knot where the circle closes has slope 1
            raw = torch.nn.functional.pad(raw, (1, 0))
        return torch.cat([share(widths), share(heights), raw], -1)

    return Converted(law, 3 * BINS - 1, convert)


LINE = converted(RationalQuadratic(BINS, 5.0, "linear", min_bin=LEAST, min_slope=SLOPE / 10))
RING = converted(CircularSpline(BINS, min_bin=LEAST, min_slope=SLOPE / 10))


@dataclass(frozen=True)
class HalfTurned(Law):
    """zuko's circular transformation: half a turn, then the spline, from x to z."""

    law: Law

    @property
    def n_params(self):
        return self.law.n_params

    def forward(self, u, theta):
        return self.law.forward(wrap(u + math.pi, math.pi), theta)

    def inverse(self, v, theta):
        value, log_slope = self.law.inverse(v, theta)
        return wrap(value - math.pi, math.pi), log_slope

    def slope_bounds(self):
        return self.law.slope_bounds()


def ours(peer, law, base, features, context):
    """Return our flow with the weights of zuko's."""
    layers = []
    for transform in peer.transform.transforms:
        order = "ascending" if transform.order[0] == 0 else "descending"
        hyper = [
            (layer.weight, layer.bias, layer.mask) for layer in transform.hyper if hasattr(layer, "mask")
        ]
        net = copied(hyper, features, transform.total, context=context, order=order)
        layers.append(Autoregressive(law, net))
    return Flow(base, Chain(*layers[::-1])).double().eval()


def peer_of(make, features, context):
    return shaken(make(features, context, transforms=3, bins=BINS, hidden_features=(12, 24)))


def rows(features, context, spread):
    generator = torch.Generator().manual_seed(1)
    x = spread * torch.randn(60, features, generator=generator, dtype=torch.float64)
    c = torch.randn(60, context, generator=generator, dtype=torch.float64) if context else None
    return x, c


SIZES = [(2, 0), (3, 0), (3, 2)]


def test_the_spline_is_that_of_zuko():
    generator = torch.Generator().manual_seed(0)
    theta = 3 * torch.randn(400, 3 * BINS - 1, generator=generator, dtype=torch.float64)
    u = torch.linspace(-7, 7, 400, dtype=torch.float64)
    peer = zuko.transforms.MonotonicRQSTransform(*theta.split([BINS, BINS, BINS - 1], -1), slope=SLOPE)
    wanted, wanted_slope = peer.call_and_ladj(u)
    value, log_slope = LINE.forward(u, theta)
    torch.testing.assert_close(value, wanted, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_slope, wanted_slope, rtol=0, atol=1e-9)
    back, log_back = LINE.inverse(u, theta)
    assert ((back - peer.inv(u)).abs() <= 1e-10 * log_back.exp().clamp(min=1.0)).all()


@pytest.mark.parametrize(("features", "context"), SIZES)
@torch.no_grad()
def test_nsf_with_the_same_weights_is_that_of_zuko(features, context):
    peer = peer_of(zuko.flows.NSF, features, context)
    own = ours(peer, Inverted(LINE), StandardNormal(features), features, context)
    x, c = rows(features, context, 2.5)
    p = peer(c)
    torch.testing.assert_close(own.log_prob(x, c), p.log_prob(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.encode(x, c), p.transform(x), rtol=1e-9, atol=1e-9)
    z = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(own.decode(z, c), p.transform.inv(z), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("features", "context"), SIZES)
@torch.no_grad()
def test_ncsf_with_the_same_weights_is_that_of_zuko(features, context):
    peer = peer_of(zuko.flows.NCSF, features, context)
    base = Uniform(features, low=-math.pi, high=math.pi)
    own = ours(peer, Inverted(HalfTurned(RING)), base, features, context)
    x, c = rows(features, context, 3.0)
    x = wrap(x, math.pi)
    p = peer(c)
    box = -p.base.log_prob(torch.zeros(features, dtype=torch.float64))
    wider = box - features * math.log(2 * math.pi)
    assert wider.flatten()[0].item() == pytest.approx(features * 1e-5 / math.pi, rel=0.02)
    torch.testing.assert_close(own.log_prob(x, c), p.log_prob(x) + wider, rtol=0, atol=1e-9)
    torch.testing.assert_close(own.log_prob(x, c), p.log_prob(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(own.encode(x, c), p.transform(x), rtol=1e-9, atol=1e-9)
    z = wrap(rows(features, 0, 3.0)[0].flip(0), math.pi)
    torch.testing.assert_close(own.decode(z, c), p.transform.inv(z), rtol=1e-7, atol=1e-7)


@torch.no_grad()
def test_float32_agrees_to_1e_5():
    peer = peer_of(zuko.flows.NSF, 3, 2)
    own = ours(peer, Inverted(LINE), StandardNormal(3), 3, 2).float()
    x, c = (part.float() for part in rows(3, 2, 1.5))
    peer = peer.float()
    torch.testing.assert_close(own.log_prob(x, c), peer(c).log_prob(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_density_of_zuko_jumps_where_the_circle_closes():
    ends = torch.tensor([[-math.pi + 1e-9, 1.0], [math.pi - 1e-9, 1.0]], dtype=torch.float64)
    low, high = peer_of(zuko.flows.NCSF, 2, 0)(None).log_prob(ends)
    assert abs(low - high) > 0.05
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = stress(NCSF(2), 2.0).double()
    low, high = own.log_prob(ends)
    assert abs(low - high) < 1e-4
