"""Distances between samples: closed forms of normals, unbiased estimates, and what they train."""

import math

import pytest
import torch

from diffeo.distributions import Mixture
from diffeo.errors import ConfigError, ShapeError
from diffeo.flows import MAF, Flow, RealNVP
from diffeo.objectives import MMD, Adversarial, Batch, EnergyDistance, ScoreMatching, SlicedWasserstein
from tests.objectives.material import DTYPE, agrees, averaged, exact_gradient, normal_flow

LOC, SCALE = torch.tensor([0.5, -1.0], dtype=DTYPE), torch.tensor([1.2, 0.6], dtype=DTYPE)


def normals(rows, features=2):
    return Batch(LOC[:features] + SCALE[:features] * torch.randn(rows, features, dtype=DTYPE))


class Redrawn:
    """An objective on data that are drawn anew for each estimate."""

    def __init__(self, objective, rows, features=2):
        self.objective, self.rows, self.features = objective, rows, features

    def loss(self, flow, batch):
        return self.objective.loss(flow, normals(self.rows, self.features))


def mmd(loc, scale, h):
    """MMD² of two normals with diagonal covariance and a Gaussian kernel of width h."""

    def mean_kernel(gap, variance):
        total = h**2 + variance
        return (h / total.sqrt() * torch.exp(-(gap**2) / (2 * total))).prod()

    within = mean_kernel(0 * loc, 2 * SCALE**2)
    return within + mean_kernel(0 * loc, 2 * scale**2) - 2 * mean_kernel(loc - LOC, SCALE**2 + scale**2)


def mean_distance(gap, variance):
    """E│N(gap, variance)│."""
    s = variance.sqrt()
    phi = torch.exp(-(gap**2) / (2 * variance)) * math.sqrt(2 / math.pi)
    return s * phi + gap * torch.erf(gap / (s * math.sqrt(2)))


def energy(loc, scale):
    a, s = LOC[:1], SCALE[:1]
    cross = mean_distance(loc - a, scale**2 + s**2)
    spread = mean_distance(0 * loc, 2 * scale**2) + mean_distance(0 * loc, 2 * s**2)
    return (2 * cross - spread).sum()


def test_mmd_is_unbiased_in_value_and_gradient():
    flow = normal_flow([0.0, 0.3], [0.8, 1.0])
    objective = MMD(widths=(0.5, 2.0))
    mean, error = averaged(Redrawn(objective, 10), flow, normals(2), 2500)
    exact = exact_gradient(lambda m, s: (mmd(m, s, 0.5) + mmd(m, s, 2.0)) / 2, flow)
    assert agrees(mean, error, exact), (mean, error, exact)


def test_the_rational_kernel_is_a_mixture_of_gaussian_ones():
    """1 / (1 + r²/2h²) = ∫ exp(−t) exp(−t r²/2h²) dt: the same by a sum over widths."""
    x = torch.randn(40, 2, dtype=DTYPE)
    flow = normal_flow([0.0, 0.0], [1.0, 1.0])
    t = (torch.arange(4000, dtype=DTYPE) + 0.5) * 0.005
    values = []
    for objective in (MMD([0.7], kernel="rational"), None):
        torch.manual_seed(3)
        if objective is not None:
            values.append(objective.loss(flow, Batch(x)).item())
            continue
        y = flow.rsample((40,)).detach()

        def k(a, b):
            r = torch.cdist(a, b).square()
            return sum(
                w * torch.exp(-u * r / (2 * 0.49)) for u, w in zip(t, torch.exp(-t) * 0.005, strict=True)
            )

        xx, yy, xy = k(x, x), k(y, y), k(x, y)
        n = 40 * 39
        off = (xx.sum() - xx.trace()) / n + (yy.sum() - yy.trace()) / n
        values.append(float(off - 2 * xy.mean()))
    assert values[0] == pytest.approx(values[1], abs=1e-4)


def test_the_median_width_follows_the_data_and_not_the_flow():
    batch = Batch(1000 * torch.randn(300, 2, dtype=DTYPE))
    far = normal_flow([0.0, 0.0], [1.0, 1.0])
    near = normal_flow([0.0, 0.0], [1000.0, 1000.0])
    assert MMD().loss(far, batch) > 0.1 > MMD().loss(near, batch)
    same = Batch(torch.ones(20, 2, dtype=DTYPE))
    assert MMD().loss(far, same).isfinite()


def test_energy_distance_is_unbiased_in_value_and_gradient():
    flow = normal_flow(0.0, 0.8)
    mean, error = averaged(Redrawn(EnergyDistance(), 10, 1), flow, normals(2), 2500)
    assert agrees(mean, error, exact_gradient(energy, flow))


def test_energy_distance_keeps_gradients_finite_where_rows_coincide():
    batch = Batch(torch.zeros(6, 2, dtype=DTYPE))
    flow = normal_flow([0.0, 0.0], [1.0, 1.0])
    EnergyDistance(0.5).loss(flow, batch).backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())


def test_sliced_wasserstein_approaches_the_closed_form():
    """W₂² of two normals on a line is (m − m′)² + (s − s′)²; its mean over directions, by quadrature."""
    loc, scale = torch.tensor([0.0, 0.3], dtype=DTYPE), torch.tensor([0.8, 1.0], dtype=DTYPE)
    angle = torch.linspace(0, 2 * math.pi, 2001, dtype=DTYPE)[:-1]
    u = torch.stack([angle.cos(), angle.sin()])
    shift = ((loc - LOC) @ u) ** 2
    spread = ((scale**2 @ u**2).sqrt() - (SCALE**2 @ u**2).sqrt()) ** 2
    exact = float((shift + spread).mean())
    flow = normal_flow(loc, scale)
    values = torch.stack([SlicedWasserstein(64).loss(flow, normals(5_000)).detach() for _ in range(20)])
    assert values.mean().item() == pytest.approx(exact, rel=0.03)
    one = SlicedWasserstein(2, power=1.0).loss(normal_flow(0.5, 1.2), normals(50_000, 1)).item()
    assert one == pytest.approx(0, abs=0.03)


def fisher(loc, scale, features=2):
    """E ½ ‖∇ log q‖² + tr ∇² log q over the data's normal."""
    a, s = LOC[:features], SCALE[:features]
    return ((s**2 + (a - loc) ** 2) / (2 * scale**4) - 1 / scale**2).sum()


@pytest.mark.parametrize("method", ["exact", "sliced"])
def test_score_matching_is_unbiased_in_value_and_gradient(method):
    flow = normal_flow([0.0, 0.3], [0.8, 1.0])
    mean, error = averaged(Redrawn(ScoreMatching(method), 200), flow, normals(2), 100)
    assert agrees(mean, error, exact_gradient(fisher, flow))


def test_the_sliced_trace_has_the_mean_of_the_exact_one():
    torch.manual_seed(2)
    flow = RealNVP(3, couplings=2, hidden=(6,)).double()
    assert flow.training  # batch normalisation would mix the rows
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.2 * torch.randn_like(p)
    batch = Batch(torch.randn(2000, 3, dtype=DTYPE))
    exact = ScoreMatching("exact").loss(flow, batch).item()
    values = torch.stack([ScoreMatching("sliced", probes=3).loss(flow, batch).detach() for _ in range(40)])
    assert abs(values.mean() - exact) <= 4.5 * values.std() / 40**0.5 + 1e-9
    assert (
        ScoreMatching("sliced")
        .loss(normal_flow([0.0] * 9, [1.0] * 9), Batch(batch.x.repeat(1, 3)))
        .isfinite()
    )


def test_context_is_part_of_what_is_compared():
    """A flow that ignores the context has the right marginal, and is told apart all the same."""
    context = torch.randn(400, 1, dtype=DTYPE)
    x = context + 0.1 * torch.randn(400, 1, dtype=DTYPE)
    flow = MAF(1, context=1, transforms=1, hidden=(8,)).double()
    for objective in (MMD(), EnergyDistance()):
        assert objective.loss(flow, Batch(x, context)) > 0.02
    assert abs(MMD().loss(normal_flow(0.0, 1.0), Batch(x)).item()) < 0.02
    loss = Adversarial(hidden=(8,)).loss(flow, Batch(x, context))
    assert loss.requires_grad


class TestRefusals:
    @pytest.mark.parametrize("objective", [MMD(), EnergyDistance(), SlicedWasserstein(), Adversarial()])
    def test_rows_and_bases(self, objective):
        flow = normal_flow([0.0, 0.0], [1.0, 1.0])
        with pytest.raises(ShapeError, match=r"batch has 1 row"):
            objective.loss(flow, normals(1))
        mixed = Flow(Mixture(2, 3), flow.bijection).double()
        with pytest.raises(ConfigError, match="draws of the base Mixture"):
            objective.loss(mixed, normals(10))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: MMD([]), "widths"),
            (lambda: MMD([0.0]), r"widths\[0\]"),
            (lambda: MMD(factors=[-1.0]), r"factors\[0\]"),
            (lambda: MMD(kernel="gauss"), "Did you mean 'gaussian'"),
            (lambda: EnergyDistance(2), "power=2"),
            (lambda: SlicedWasserstein(0), "directions=0"),
            (lambda: SlicedWasserstein(power=0.5), "power=0.5"),
            (lambda: ScoreMatching("hutchinson"), "method"),
            (lambda: ScoreMatching(probes=0), "probes=0"),
            (lambda: Adversarial("wgan"), "kind='wgan'"),
            (lambda: Adversarial(hidden=()), "hidden"),
            (lambda: Adversarial(steps=0), "steps=0"),
        ],
    )
    def test_arguments(self, make, message):
        with pytest.raises(ConfigError, match=message):
            make()
