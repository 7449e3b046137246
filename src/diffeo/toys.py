"""Two-dimensional toys with known densities: what a flow can at best reach on each is its entropy.

The eight are those of FFJORD (Grathwohl et al. 2019, ``toy_data.py``), drawn independently row by row;
where scikit-learn puts points on a regular grid of a curve, here they lie anywhere on it, which is the
same density. Each knows its exact log p(x), so that held-out KL = −mean log p_θ(x) − H needs no guess:

>>> x = TOYS["moons"].sample(4, seed=0)
>>> x.shape, TOYS["moons"].log_prob(x).shape
(torch.Size([4, 2]), torch.Size([4]))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.errors import at_least

#: Points of a curve, or of the hidden variable, that a density is summed over.
_NODES = 20_000


@dataclass(frozen=True)
class Toy:
    """A density on the plane.

    Attributes:
        name: as in FFJORD.
        entropy: H = −E log p in nats, the floor of the held-out negative log-likelihood.
    """

    name: str
    entropy: float
    _draw: Callable[[int, torch.Generator], Tensor]
    _log_prob: Callable[[Tensor], Tensor]

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Return n independent draws, float32, (n, 2)."""
        at_least("n", n, 0)
        return self._draw(n, torch.Generator().manual_seed(seed)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) in nats, float64, for x of shape (n, 2)."""
        parts = [self._log_prob(part) for part in x.double().split(500)]
        return torch.cat(parts) if parts else x.new_zeros(0, dtype=torch.float64)


def _rand(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64)


def _randn(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator, dtype=torch.float64)


def _on(
    curve: Callable[[Tensor], Tensor], noise: float
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return draws and log-density of curve(u) + noise · N(0, I), u uniform on [0, 1)."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return curve(_rand(n, generator)) + noise * _randn(n, generator)

    def log_prob(x: Tensor) -> Tensor:
        u = (torch.arange(_NODES, dtype=torch.float64) + 0.5) / _NODES
        distance = torch.cdist(x, curve(u), compute_mode="donot_use_mm_for_euclid_dist") / noise
        inside = torch.logsumexp(-distance.square() / 2, -1) - math.log(_NODES)
        return inside - math.log(2 * math.pi * noise**2)

    return draw, log_prob


def _pieces(u: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return which of ``count`` equal pieces of [0, 1) u is in, and where in it, as another uniform."""
    scaled = u * count
    piece = scaled.floor().clamp(max=count - 1)
    return piece, scaled - piece


def _moons(u: Tensor) -> Tensor:
    which, t = _pieces(u, 2)
    t = t * math.pi
    upper = torch.stack([torch.cos(t), torch.sin(t)], -1)
    lower = torch.stack([1 - torch.cos(t), 0.5 - torch.sin(t)], -1)
    shift = torch.tensor([-1.0, -0.2], dtype=u.dtype)
    return 2 * torch.where(which[:, None] == 0, upper, lower) + shift


def _circle(angle: Tensor, radius: Tensor) -> Tensor:
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)


def _circles(u: Tensor) -> Tensor:
    which, t = _pieces(u, 2)
    return _circle(2 * math.pi * t, 3.0 - 1.5 * which)


def _rings(u: Tensor) -> Tensor:
    which, t = _pieces(u, 4)
    return _circle(2 * math.pi * t, 3.0 * (1 - which / 4))


def _swissroll(u: Tensor) -> Tensor:
    t = 1.5 * math.pi * (1 + 2 * u)
    return _circle(t, t) / 5


def _eight(u: Tensor) -> Tensor:
    which, _ = _pieces(u, 8)
    return _circle(which * math.pi / 4, torch.full_like(u, 4 / 1.414))


# Pinwheel: x = 2 (a e₁ + b e₂), a ~ N(1, 0.3²), b ~ N(0, 0.1²), in a frame e₁ = (cos A, −sin A),
# e₂ = (sin A, cos A) that turns with a: A = arm · 2π / 5 + e^a / 4.
_WHIRL = 0.25


def _angle(a: Tensor, arm: Tensor) -> Tensor:
    return arm * (2 * math.pi / 5) + _WHIRL * torch.exp(a)


def _draw_pinwheel(n: int, generator: torch.Generator) -> Tensor:
    arm = _pieces(_rand(n, generator), 5)[0]
    a, b = (_randn(n, generator) * torch.tensor([0.3, 0.1], dtype=torch.float64)).unbind(-1)
    angle = _angle(a + 1, arm)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return 2 * torch.stack([(a + 1) * cos + b * sin, b * cos - (a + 1) * sin], -1)


def _log_prob_pinwheel(x: Tensor) -> Tensor:
    """Sum p(a, b) / │1 + A′(a) b│ over the preimages: the roots of h(a) = a − y · e₁(A(a)), y = x / 2."""
    y = x / 2
    grid = torch.linspace(-1.5, 3.5, 4000, dtype=x.dtype)
    total = torch.zeros(len(x), dtype=x.dtype)
    for arm in range(5):
        angle = _angle(grid, torch.tensor(float(arm)))
        h = grid - y[:, :1] * torch.cos(angle) + y[:, 1:] * torch.sin(angle)
        left, right = h[:, :-1], h[:, 1:]
        crossed = (left < 0) != (right < 0)
        share = torch.where(crossed, left / (left - right), 0.0)
        a = grid[:-1] + share * (grid[1] - grid[0])
        angle = _angle(a, torch.tensor(float(arm)))
        b = y[:, :1] * torch.sin(angle) + y[:, 1:] * torch.cos(angle)
        slope = (1 + _WHIRL * torch.exp(a) * b).abs()
        density = torch.exp(-((a - 1) ** 2) / 0.18 - b**2 / 0.02) / (2 * math.pi * 0.03 * slope)
        total = total + torch.where(crossed, density, 0.0).sum(-1) / 5
    return total.log() - math.log(4)


# 2spirals: ±(c(r) + v / 2) / 3 + 0.1 · N(0, I), c(r) = r (−cos r, sin r), r = 3π √u, v uniform on [0, 1]².
_SMEAR, _BLUR = 0.5 / 3, 0.1


def _spiral(u: Tensor) -> Tensor:
    r = u.sqrt() * 3 * math.pi
    return torch.stack([-torch.cos(r) * r, torch.sin(r) * r], -1) / 3


def _draw_spirals(n: int, generator: torch.Generator) -> Tensor:
    smear = torch.stack([_rand(n, generator), _rand(n, generator)], -1) * _SMEAR
    sign = torch.where(_rand(n, generator) < 0.5, 1.0, -1.0)[:, None]
    return sign * (_spiral(_rand(n, generator)) + smear) + _BLUR * _randn(n, generator)


def _log_prob_spirals(x: Tensor) -> Tensor:
    # Uniform in r with weight ∝ r: the nodes lie evenly along the curve.
    r = (torch.arange(2000, dtype=x.dtype) + 0.5) / 2000
    centres, weight = _spiral(r**2), 2 * r / len(r)
    total = torch.zeros(len(x), dtype=x.dtype)
    for sign in (1.0, -1.0):
        off = (sign * x[:, None] - centres) / _BLUR
        box = torch.special.ndtr(off) - torch.special.ndtr(off - _SMEAR / _BLUR)
        total = total + 0.5 * (weight * (box / _SMEAR).prod(-1)).sum(-1)
    return total.log()


def _draw_checkerboard(n: int, generator: torch.Generator) -> Tensor:
    across = _rand(n, generator) * 4 - 2
    lower = torch.where(_rand(n, generator) < 0.5, 0.0, 2.0)
    up = _rand(n, generator) - lower + across.floor() % 2
    return 2 * torch.stack([across, up], -1)


def _log_prob_checkerboard(x: Tensor) -> Tensor:
    across, up = (x / 2).unbind(-1)
    level = (up - across.floor() % 2).floor()
    inside = (across.abs() <= 2) & ((level == 0) | (level == -2))
    return torch.where(inside, x.new_tensor(-math.log(32)), -torch.inf)


#: Every toy, by name. Entropies are −∫ p log p, summed on a grid that finds a mass of 1.000000.
TOYS: Mapping[str, Toy] = {
    toy.name: toy
    for toy in (
        Toy("8gaussians", 2.83188, *_on(_eight, 0.5 / 1.414)),
        Toy("checkerboard", math.log(32), _draw_checkerboard, _log_prob_checkerboard),
        Toy("moons", 2.39388, *_on(_moons, 0.2)),
        Toy("rings", 2.62318, *_on(_rings, 0.08)),
        Toy("circles", 3.26814, *_on(_circles, 0.24)),
        Toy("pinwheel", 2.31779, _draw_pinwheel, _log_prob_pinwheel),
        Toy("2spirals", 2.64545, _draw_spirals, _log_prob_spirals),
        Toy("swissroll", 2.66964, *_on(_swissroll, 0.2)),
    )
}
