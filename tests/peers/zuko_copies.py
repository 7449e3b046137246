"""Flows of zuko 1.6 as ours, with their weights: its laws as parameters of ours, its networks unit by unit.

Its NAF and UNAF are built of other functions than the laws that we ship (a monotone network of absolute
weights, the integral of a free network): these two are written here as laws, and run in our layers.
"""

import math
from dataclasses import dataclass

import torch
import zuko

from diffeo.bijections import Autoregressive, Chain
from diffeo.distributions import StandardNormal
from diffeo.flows import Flow
from diffeo.kernels.quadrature import gauss_legendre
from diffeo.laws import Affine, Bernstein, Inverted, SumOfSquares
from diffeo.laws.numeric import NumericLaw

from .copying import Converted, Softclip, WithOwn, copied, unbounded

# -- zuko's laws, as parameters of ours ------------------------------------------------------------


def affine():
    """exp(a) x + b with │a│ < log 1000 by a softsign, which we bound by a tanh."""

    def convert(theta):
        shift, raw = theta[..., 0], theta[..., 1]
        log_scale = raw / (1 + (raw / math.log(1e-3)).abs())
        return torch.stack([unbounded(log_scale, 10.0), shift], -1)

    return Inverted(Converted(Affine(10.0), 2, convert))


def sum_of_squares(polynomials=3, degree=4, slope=1e-3):
    """The integral of zuko's mean of squares + ``slope``; in ours the identity has that share."""
    law = SumOfSquares(polynomials, degree, bound=10.0, limit=1e3, min_slope=slope)

    def convert(theta):
        terms = theta[..., :-1].unflatten(-1, (polynomials, degree + 1))
        # ε + (1 − ε) mean (1 + a′)² = ε + mean (1 + a)² for 1 + a′ = (1 + a) / √(1 − ε).
        grown = terms / (1 - slope) ** 0.5
        constant = (1 + terms[..., :1]) / (1 - slope) ** 0.5 - 1
        terms = torch.cat([constant, grown[..., 1:]], -1).flatten(-2)
        return torch.cat([unbounded(terms, law.limit), theta[..., -1:] / (1 - slope)], -1)

    return Inverted(Converted(law, polynomials * (degree + 1) + 1, convert))


def bernstein(degree=16):
    """Zuko's degree counts the free coefficients only: with its fixed ones the polynomial has 5 more."""
    return Inverted(Bernstein(degree + 5, bound=5.0, tails="linear", min_slope=0.0))


# -- the two laws of zuko that are not ours, written as laws ---------------------------------------


def two_way_elu(x):
    """Return elu(x) in the first half of the units, −elu(−x) in the second, and the slopes."""
    sign = torch.ones(x.shape[-1], dtype=x.dtype)
    sign[x.shape[-1] // 2 :] = -1.0
    turned = sign * x
    return sign * torch.nn.functional.elu(turned), torch.where(turned > 0, 1.0, turned.clamp(max=0).exp())


@dataclass(frozen=True)
class MonotoneNetwork(NumericLaw):
    """zuko's NAF: a network in u and in a signal whose weights enter by their absolute values.

    θ = [signal, |W₁|, b₁, |W₂|, b₂, |W₃|, b₃].
    """

    signal: int = 4
    width: int = 6
    bound: float = 12.0
    min_slope: float = 0.0

    @property
    def shapes(self):
        return [(self.width, 1 + self.signal), (self.width, self.width), (1, self.width)]

    @property
    def n_params(self):
        return self.signal + sum(rows * columns + rows for rows, columns in self.shapes)

    def slope_bounds(self):
        return 0.0, float("inf")

    def curve(self, u, theta):
        signal, at = theta[..., : self.signal], self.signal
        h = torch.cat([u.unsqueeze(-1), signal], -1)
        slope = torch.cat([torch.ones_like(u).unsqueeze(-1), torch.zeros_like(signal)], -1)
        for k, (rows, columns) in enumerate(self.shapes):
            weight = theta[..., at : at + rows * columns].unflatten(-1, (rows, columns)).abs()
            bias = theta[..., at + rows * columns : at + rows * columns + rows]
            at += rows * columns + rows
            h = (weight @ h.unsqueeze(-1)).squeeze(-1) + bias
            slope = (weight @ slope.unsqueeze(-1)).squeeze(-1)
            if k < 2:
                h, by = two_way_elu(h)
                slope = slope * by
        return h.squeeze(-1), slope.squeeze(-1).log()


@dataclass(frozen=True)
class IntegratedNetwork(NumericLaw):
    """zuko's UNAF: c + ∫₀ᵘ exp(squashed network(t, signal)) dt by 32 nodes.

    θ = [signal, c, W₁, b₁, W₂, b₂, W₃, b₃].
    """

    signal: int = 4
    width: int = 6
    bound: float = 12.0
    min_slope: float = 0.0

    @property
    def shapes(self):
        return MonotoneNetwork(self.signal, self.width).shapes

    @property
    def n_params(self):
        return self.signal + 1 + sum(rows * columns + rows for rows, columns in self.shapes)

    def slope_bounds(self):
        return 1e-4, 1e4

    def curve(self, u, theta):
        rule = torch.tensor(gauss_legendre(32), dtype=u.dtype)
        t = u.unsqueeze(-1) * rule[:, 0]
        inside = self.log_integrand(t, theta.unsqueeze(-2)).exp()
        return theta[..., self.signal] + u * (inside * rule[:, 1]).sum(-1), self.log_integrand(u, theta)

    def log_integrand(self, t, theta):
        signal, at = theta[..., : self.signal], self.signal + 1
        h = torch.cat([t.unsqueeze(-1), signal.expand(*t.shape, -1)], -1)
        for k, (rows, columns) in enumerate(self.shapes):
            weight = theta[..., at : at + rows * columns].unflatten(-1, (rows, columns))
            bias = theta[..., at + rows * columns : at + rows * columns + rows]
            at += rows * columns + rows
            h = (weight @ h.unsqueeze(-1)).squeeze(-1) + bias
            h = torch.nn.functional.elu(h) if k < 2 else h
        h = h.squeeze(-1)
        return h / (1 + (h / 7).abs())


def flat_weights(network):
    """Return zuko's stacked weights of each feature in a row, (D, numbers)."""
    rows = [(layer.weight.flatten(1), layer.bias) for layer in network if hasattr(layer, "weight")]
    return torch.cat([part for pair in rows for part in pair], -1).detach()


# -- flows ------------------------------------------------------------------------------------------


def linear_layers(hyper):
    return [(layer.weight, layer.bias, layer.mask) for layer in hyper if hasattr(layer, "mask")]


def autoregressive(peer, law, features, context):
    """Return our flow with the weights of zuko's."""
    layers = []
    for transform in peer.transform.transforms:
        if not hasattr(transform, "hyper"):
            layers.append(Softclip())
            continue
        order = "ascending" if transform.order[0] == 0 else "descending"
        net = copied(
            linear_layers(transform.hyper), features, transform.total, context=context, order=order
        )
        if isinstance(law.law, MonotoneNetwork):
            net = WithOwn(net, flat_weights(transform.univariate.network))
        elif isinstance(law.law, IntegratedNetwork):
            net = WithOwn(net, flat_weights(transform.univariate.integrand))
        layers.append(Autoregressive(law, net))
    # Ours are listed from noise to data.
    return Flow(StandardNormal(features), Chain(*layers[::-1])).double().eval()


FLOWS = {
    "MAF": (zuko.flows.MAF, affine(), {}, 1.0),
    "SOSPF": (zuko.flows.SOSPF, sum_of_squares(), {}, 0.3),
    "SOSPF of slope 0": (zuko.flows.SOSPF, sum_of_squares(slope=0.0), {"slope": 0.0}, 0.3),
    "BPF": (zuko.flows.BPF, bernstein(), {}, 1.0),
    "NAF": (
        zuko.flows.NAF,
        Inverted(MonotoneNetwork()),
        {"signal": 4, "network": {"hidden_features": (6, 6)}},
        1.0,
    ),
    "UNAF": (
        zuko.flows.UNAF,
        Inverted(IntegratedNetwork()),
        {"signal": 4, "network": {"hidden_features": (6, 6)}},
        0.5,
    ),
}


def rows(features, context, spread=1.5):
    generator = torch.Generator().manual_seed(1)
    x = spread * torch.randn(40, features, generator=generator, dtype=torch.float64)
    c = torch.randn(40, context, generator=generator, dtype=torch.float64) if context else None
    return x, c


def compare(own, peer, x, c):
    """Densities, noise and samples; zuko's bisection is right to 1e-6, ours to a rounding."""
    p = peer(c)
    z = p.transform(x)
    torch.testing.assert_close(own.encode(x, c), z, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(own.log_prob(x, c), p.log_prob(x), rtol=1e-9, atol=1e-9)
    noise = own.encode(x.flip(0), c)  # inside the range that zuko's searches for
    sample = own.decode(noise, c)
    torch.testing.assert_close(sample, x.flip(0), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(p.transform(sample), noise, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(p.transform.inv(noise), sample, rtol=1e-5, atol=1e-5)
