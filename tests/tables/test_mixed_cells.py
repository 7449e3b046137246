"""Masses of cells and densities of mixtures: exact in both tails, with finite gradients in float32."""

import math

import numpy as np
import pytest
import torch

from diffeo.tables.mixed.cells import EDGE, Normals, log_cell, start

mpmath = pytest.importorskip("mpmath")


def exactly(below, width):
    with mpmath.workdps(60):
        a = mpmath.mpf(below)
        b = a + mpmath.mpf(width)
        if a + b > 0:
            a, b = -b, -a
        root = mpmath.sqrt(2)
        return float(mpmath.log((mpmath.erfc(-b / root) - mpmath.erfc(-a / root)) / 2))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 5e-14), (torch.float32, 5e-6)])
def test_the_mass_of_a_cell_is_exact_from_hairline_to_half_line(dtype, limit):
    rng = np.random.default_rng(0)
    below = torch.tensor(rng.normal(size=600) * 10 ** rng.uniform(-3, 2.5, 600), dtype=dtype)
    width = torch.tensor(10 ** rng.uniform(-9, 2.5, 600), dtype=dtype)
    got = log_cell(below, below + width, width)
    for a, w, found in zip(below.tolist(), width.tolist(), got.tolist(), strict=True):
        wanted = exactly(a, w)
        assert abs(found - wanted) <= limit * (1 + abs(wanted)), (a, w)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_where_one_form_hands_over_to_the_next_nothing_jumps(dtype):
    edges = (1e-2, 2e-2) if dtype == torch.float64 else (0.1, 0.3)
    for middle, width in [(0.1, edges[0]), (3.0, edges[1] / 3), (50.0, edges[1] / 50), (edges[0] / 2, 0.2)]:
        w = torch.tensor([width * (1 - 1e-6), width * (1 + 1e-6)], dtype=dtype)
        value = log_cell(middle - w / 2, middle + w / 2, w)
        assert abs(value[0] - value[1]) < 1e-6 * (10 + abs(value[0]))


def test_its_derivatives_are_right():
    below = torch.tensor([-30.0, -3.0, -1e-3, 0.5, 2.0, 40.0], dtype=torch.float64, requires_grad=True)
    for width in (1e-4, 0.05, 1.0, 5.0):
        assert torch.autograd.gradcheck(
            lambda a, w=width: log_cell(a, a + w, torch.full_like(a, w)), below, eps=1e-7, atol=1e-4
        )


def test_a_cell_without_width_has_no_mass_and_no_gradient():
    below = torch.tensor([0.0, 3.0], requires_grad=True)
    mass = log_cell(below, below.detach(), torch.tensor([0.0, -1.0]))
    assert mass.tolist() == [-math.inf] * 2
    mass.sum().backward()
    assert below.grad.isfinite().all()


@pytest.mark.parametrize("gain", [0.0, 1.0, 30.0, 1e6])
def test_gradients_of_a_mixture_are_finite_in_float32(gain):
    generator = torch.Generator().manual_seed(0)
    theta = gain * torch.randn(64, 8, 3, generator=generator)
    theta.requires_grad_()
    law = Normals(theta, torch.tensor(start(8)))
    below = torch.cat([torch.full((8,), -EDGE), torch.linspace(-40, 40, 48), torch.full((8,), EDGE - 1)])
    width = 10 ** torch.linspace(-8, 1.5, 64)
    mass = law.log_mass(below, below + width, width)
    density = law.log_density(torch.linspace(-1e7, 1e7, 64))
    assert mass.isfinite().all()
    assert density.isfinite().all()
    (mass.sum() + density.sum()).backward()
    assert theta.grad.isfinite().all()


def test_masses_of_all_cells_are_one_and_agree_with_the_density():
    generator = torch.Generator().manual_seed(1)
    theta = torch.randn(1, 4, 3, generator=generator).double()
    ends = torch.cat([torch.tensor([-EDGE]), torch.linspace(-20, 20, 8001), torch.tensor([EDGE])]).double()
    below, above = ends[:-1], ends[1:]
    law = Normals(theta.expand(len(below), -1, -1), torch.tensor(start(4)).double())
    mass = law.log_mass(below, above, above - below).exp()
    assert abs(mass.sum() - 1) < 1e-12
    density = law.log_density(0.5 * (below + above)).exp() * (above - below)
    torch.testing.assert_close(density[1:-1], mass[1:-1], rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(("components", "nats"), [(1, 1e-12), (3, 2e-4), (8, 2e-6), (12, 1e-8)])
def test_it_begins_as_the_standard_normal(components, nats):
    u = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    law = Normals(torch.zeros(2001, components, 3).double(), torch.tensor(start(components)).double())
    normal = -0.5 * u.square() - 0.5 * math.log(2 * math.pi)
    gap = (normal.exp() * (normal - law.log_density(u))).sum() * (u[1] - u[0])
    assert abs(gap) < nats


def test_draws_follow_the_mixture():
    generator = torch.Generator().manual_seed(2)
    law = Normals(torch.randn(1, 3, 3, generator=generator).double(), torch.tensor(start(3)).double())
    many = Normals(torch.zeros(1, 3, 3), torch.tensor(start(3)))
    many.log_weight, many.mean, many.log_scale = (
        part.expand(40_000, 3) for part in (law.log_weight, law.mean, law.log_scale)
    )
    u = many.draw(torch.Generator().manual_seed(3))
    for end in (-1.0, 0.0, 1.5):
        below = torch.tensor([-EDGE], dtype=torch.float64)
        above = torch.tensor([end], dtype=torch.float64)
        mass = law.log_mass(below, above, above - below).exp().item()
        assert abs((u < end).double().mean().item() - mass) < 4 * (mass * (1 - mass) / 40_000) ** 0.5
