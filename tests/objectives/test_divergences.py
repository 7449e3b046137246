"""Divergences to unnormalised targets: closed forms, unbiased gradients, and no variance at the optimum."""

import math

import pytest
import torch
from scipy import integrate

from diffeo.bijections import Chain, Coupling, Mask, Planar
from diffeo.conditioners import MLP
from diffeo.distributions import Mixture, StandardNormal
from diffeo.errors import ConfigError, DtypeError, ShapeError
from diffeo.flows import MAF, Flow, RealNVP
from diffeo.laws import Affine as AffineLaw
from diffeo.objectives import Batch, ImportanceWeighted, Ramp, Renyi, ReverseKL
from diffeo.objectives.target import stopped
from tests.objectives.material import (
    DTYPE,
    NOTHING,
    agrees,
    averaged,
    exact_gradient,
    gradient_of,
    normal_flow,
    normal_log_density,
)

LOC, SCALE, LOG_Z = 0.3, 0.8, 0.7
TARGET = normal_log_density(LOC, SCALE, LOG_Z)


def kl(loc, scale, beta=1.0):
    """E_q log q − β log p̃ of two normals."""
    inner = 0.5 * math.log(2 * math.pi * SCALE**2) + ((loc - LOC) ** 2 + scale**2) / (2 * SCALE**2) - LOG_Z
    return (-0.5 * (torch.log(2 * math.pi * scale**2) + 1) + beta * inner).sum()


def renyi(loc, scale, alpha):
    """D_α(q ‖ p) − log Z of two normals (Gil, Alajaji & Linder 2013)."""
    variance = alpha * SCALE**2 + (1 - alpha) * scale**2
    d = torch.log(SCALE / scale) + torch.log(SCALE**2 / variance) / (2 * (alpha - 1))
    return (d + alpha * (loc - LOC) ** 2 / (2 * variance) - LOG_Z).sum()


@pytest.mark.parametrize("estimator", ["path", "reparametrised", "score"])
@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_reverse_kl_and_its_gradient_are_unbiased(estimator, beta):
    flow = normal_flow(-0.2, 1.3)
    # Few draws where they know of each other, in the baseline of the score.
    draws, repeats = (8, 800) if estimator == "score" else (1000, 40)
    objective = ReverseKL(TARGET, draws, estimator, inverse_temperature=beta)
    mean, error = averaged(objective, flow, NOTHING, repeats)
    exact = exact_gradient(lambda loc, scale: kl(loc, scale, beta), flow)
    assert agrees(mean, error, exact), (mean, error, exact)


@pytest.mark.parametrize("objective", ["reverse", "renyi", "weighted"])
def test_path_gradients_vanish_at_the_optimum_and_others_do_not(objective):
    flow, exact = (
        normal_flow(LOC, SCALE),
        {
            "reverse": (ReverseKL(TARGET), ReverseKL(TARGET, estimator="reparametrised")),
            "renyi": (Renyi(TARGET, 0.5), Renyi(TARGET, 0.5, doubly_reparametrised=False)),
            "weighted": (
                ImportanceWeighted(TARGET),
                ImportanceWeighted(TARGET, doubly_reparametrised=False),
            ),
        }[objective],
    )
    loss = exact[0].loss(flow, NOTHING)
    assert loss.item() == pytest.approx(-LOG_Z, abs=1e-12)
    assert gradient_of(loss, flow).abs().max() <= 1e-12
    assert gradient_of(exact[1].loss(flow, NOTHING), flow).abs().max() > 1e-3


@pytest.mark.parametrize("alpha", [0.5, 2.0, -1.0])
def test_renyi_approaches_the_closed_form_with_many_draws(alpha):
    flow = normal_flow(0.1, 0.7)
    sign = -1 if alpha < 0 else 1  # an upper bound of log Z there
    loss = Renyi(TARGET, alpha, draws=400_000).loss(flow, NOTHING)
    exact = exact_gradient(lambda loc, scale: sign * renyi(loc, scale, alpha), flow)
    assert loss.item() == pytest.approx(exact[0].item(), abs=0.01)
    assert torch.allclose(gradient_of(loss, flow), exact[1:], atol=0.03)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 2.0, -1.0])
@pytest.mark.parametrize("draws", [2, 5])
def test_both_renyi_gradients_have_one_mean(alpha, draws):
    """A thousand alike rows of context are a thousand estimates, each of few draws."""
    flow = MAF(1, context=1, transforms=1, hidden=()).double()
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.3
    batch = Batch(torch.zeros(1000, 1, dtype=DTYPE), torch.ones(1000, 1, dtype=DTYPE))

    def target(x, context):
        return TARGET(x)

    both = [
        averaged(Renyi(target, alpha, draws, doubly_reparametrised=doubly), flow, batch, 40)
        for doubly in (True, False)
    ]
    difference = both[0][0] - both[1][0]
    error = (both[0][1].square() + both[1][1].square()).sqrt()
    assert agrees(difference, error, torch.zeros_like(difference)), (difference, error)
    assert both[0][1][1:].max() > 0


def test_the_importance_weighted_bound_agrees_with_quadrature():
    """L₂ of two normals by a double integral; L₁ is the evidence bound; L rises with K."""
    flow = normal_flow(-0.4, 1.2)
    q = torch.distributions.Normal(torch.tensor(-0.4, dtype=DTYPE), torch.tensor(1.2, dtype=DTYPE))
    nodes = torch.linspace(-12, 12, 1201, dtype=DTYPE)
    weight = (q.log_prob(nodes)).exp() * (nodes[1] - nodes[0])
    log_w = TARGET(nodes[:, None]) - q.log_prob(nodes)
    pair = torch.logaddexp(log_w[:, None], log_w[None]) - math.log(2)
    exact = float((weight[:, None] * weight[None] * pair).sum())
    values = torch.stack([ImportanceWeighted(TARGET, 2, 100).loss(flow, NOTHING) for _ in range(400)])
    assert abs(-values.mean() - exact) <= 4 * values.std() / 20
    first = ImportanceWeighted(TARGET, 1, 200_000).loss(flow, NOTHING).item()
    elbo = -float(kl(torch.tensor(-0.4), torch.tensor(1.2)))
    assert -first == pytest.approx(elbo, abs=0.01)
    assert elbo < exact < LOG_Z
    assert exact < -ImportanceWeighted(TARGET, 64, 2000).loss(flow, NOTHING).item() < LOG_Z + 0.01


def test_a_discrete_grid_gives_the_same_reverse_divergence():
    """A bent flow of one feature: E_q log q/p̃ by draws and on a grid."""
    flow = Flow(StandardNormal(1), Planar(1)).double()
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.7

    def integrand(at):
        x = torch.tensor([[at]], dtype=DTYPE)
        with torch.no_grad():
            log_q = flow(x)
            return float(log_q.exp() * (log_q - TARGET(x)))

    exact, _ = integrate.quad(integrand, -12, 12, limit=200)
    for estimator in ("path", "reparametrised", "score"):
        values = ReverseKL(TARGET, 200_000, estimator).loss(flow, NOTHING).item()
        assert values == pytest.approx(exact, abs=0.015)


def test_gradients_of_a_real_flow_agree_between_estimators():
    torch.manual_seed(1)
    flow = RealNVP(2, couplings=2, hidden=(6,)).double()
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.2 * torch.randn_like(p)

    def banana(x):
        return -(x[:, 0] ** 2) / 2 - (x[:, 1] - x[:, 0] ** 2) ** 2

    results = [
        averaged(ReverseKL(banana, 512, name), flow, NOTHING, 60) for name in ("path", "reparametrised")
    ]
    error = (results[0][1].square() + results[1][1].square()).sqrt()
    assert agrees(results[0][0] - results[1][0], error, torch.zeros_like(error))


@pytest.mark.parametrize("memory", ["full", "constant"])
def test_a_stopped_flow_shares_numbers_and_gives_no_gradient_to_them(memory):
    mask = Mask.halves(3)
    layers = [
        Coupling(AffineLaw(), MLP(mask.n_passed, mask.n_moved, 2, hidden=(4,)), mask) for _ in range(2)
    ]
    flow = Flow(StandardNormal(3), Chain(*layers, memory=memory)).double()
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.3 * torch.randn_like(p)
    x = torch.randn(5, 3, dtype=DTYPE, requires_grad=True)
    held = stopped(flow)
    assert torch.equal(held(x), flow(x))
    assert [p.data_ptr() for p in held.parameters()] == [p.data_ptr() for p in flow.parameters()]
    held(x).sum().backward()
    assert all(p.grad is None for p in flow.parameters())
    mine = x.grad.clone()
    (other,) = torch.autograd.grad(flow(x).sum(), x)
    assert torch.allclose(mine, other, atol=1e-12)


def test_context_gets_its_own_draws():
    """Amortised inference: q(x | c) against N(c, 1), whose divergence is known for each row."""
    flow = MAF(1, context=1, transforms=1, hidden=(8,)).double()

    def log_density(x, context):
        assert x.shape == context.shape == (30, 1)
        return -((x - context) ** 2).sum(-1) / 2 - 0.5 * math.log(2 * math.pi)

    context = torch.tensor([[0.0], [1.0], [2.0]], dtype=DTYPE)
    batch = Batch(torch.zeros(3, 1, dtype=DTYPE), context)
    for objective in (ReverseKL(log_density, 10), ReverseKL(log_density, 10, "score")):
        values = torch.stack([objective.loss(flow, batch).detach() for _ in range(300)])
        assert abs(values.mean() - (context**2 / 2).mean()) <= 4.5 * values.std() / 300**0.5
    assert ImportanceWeighted(log_density, 5, 2).loss(flow, batch).requires_grad


def test_annealing_follows_the_progress_of_the_run():
    flow = normal_flow(-0.2, 1.3)
    objective = ReverseKL(TARGET, 100_000, inverse_temperature=Ramp(0.0, 1.0, until=0.5))
    for progress, beta in ((0.0, 0.0), (0.25, 0.5), (0.9, 1.0)):
        value = objective.loss(flow, Batch(NOTHING.x, progress=progress)).item()
        exact = float(kl(torch.tensor(-0.2), torch.tensor(1.3), beta))
        assert value == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("estimator", ["path", "reparametrised", "score"])
def test_layers_that_read_their_batch_or_draw_do_not_disturb_the_bound(estimator):
    """In training mode, as fit has it: log q must be that of the draws, and no statistic may move."""
    flow = RealNVP(2, couplings=2, hidden=(6,), batch_norm=True).double()
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.3 * torch.randn_like(p)
    flow.initialise(3 * torch.randn(50, 2, dtype=DTYPE))

    def own_density(x):
        return held(x)

    held = stopped(flow).eval()
    before = {name: t.clone() for name, t in flow.state_dict().items()}
    flow.train()
    loss = ReverseKL(own_density, 32, estimator).loss(flow, NOTHING)
    assert abs(loss.item()) <= 1e-12
    assert all(part.training for part in flow.modules())
    assert all(torch.equal(before[name], t) for name, t in flow.state_dict().items())
    if estimator == "path":
        assert gradient_of(loss, flow).abs().max() <= 1e-12


class TestRefusals:
    def test_shapes_and_types_of_the_target(self):
        flow = normal_flow([0.0, 0.0], [1.0, 1.0])
        with pytest.raises(ShapeError, match=r"returned shape \(64, 2\).*sum over the features"):
            ReverseKL(lambda x: -(x**2)).loss(flow, NOTHING)
        with pytest.raises(ShapeError, match=r"squeeze\(-1\)"):
            ReverseKL(lambda x: x[:, :1]).loss(flow, NOTHING)
        with pytest.raises(DtypeError, match="expected a tensor of floating numbers"):
            ReverseKL(lambda x: 1.0).loss(flow, NOTHING)

    def test_a_target_without_gradient(self):
        flow, target = normal_flow(0.0, 1.0), lambda x: TARGET(x.detach())
        for objective in (ReverseKL(target), Renyi(target), ImportanceWeighted(target)):
            with pytest.raises(ConfigError, match="carries no gradient"):
                objective.loss(flow, NOTHING)
        assert ReverseKL(target, estimator="score").loss(flow, NOTHING).requires_grad

    def test_a_base_whose_draws_are_not_whole(self):
        flow = Flow(Mixture(1, 3), normal_flow(0.0, 1.0).bijection).double()
        with pytest.raises(ConfigError, match=r"draws of the base Mixture.*score"):
            ReverseKL(TARGET).loss(flow, NOTHING)
        assert ReverseKL(TARGET, estimator="score").loss(flow, NOTHING).requires_grad
        flow.base.requires_grad_(False)
        assert ReverseKL(TARGET).loss(flow, NOTHING).requires_grad

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: ReverseKL(3), "log_density is a int"),
            (lambda: ReverseKL(TARGET, 0), "draws=0"),
            (lambda: ReverseKL(TARGET, 1, "score"), "draws=1"),
            (lambda: ReverseKL(TARGET, estimator="pth"), "Did you mean 'path'"),
            (lambda: ReverseKL(TARGET, inverse_temperature="a"), "inverse_temperature='a'"),
            (lambda: Renyi(TARGET, 1.0), "ReverseKL"),
            (lambda: Renyi(TARGET, math.inf), "alpha=inf"),
            (lambda: ImportanceWeighted(TARGET, 0), "k=0"),
            (lambda: Ramp(0.0, 1.0, shape="geometric"), "start=0.0"),
            (lambda: Ramp(0.0, 1.0, begin=0.5, until=0.5), "begin=0.5 must be below"),
        ],
    )
    def test_arguments(self, make, message):
        with pytest.raises(ConfigError, match=message):
            make()
