"""TarFlow's own: what a patch sees, ways to a sample, guidance, noise and its removal."""

import pytest
import torch

from diffeo.bijections import Autoregressive, Identity
from diffeo.conditioners import Guided, MaskedMLP, PatchTransformer
from diffeo.distributions import StandardNormal
from diffeo.errors import ConfigError
from diffeo.flows import Flow
from diffeo.images import NICE, NoisyLikelihood, TarFlow, denoised, guided
from diffeo.laws import Affine
from diffeo.objectives.objective import Batch
from diffeo.testing import stress

SMALL = {"patch": 2, "width": 16, "transforms": 2, "blocks": 1, "heads": 2}


def flow_of(shape=(1, 4, 4), context=2, **settings):
    torch.manual_seed(0)
    flow = TarFlow(shape, context, **{**SMALL, **settings})
    return stress(flow, 4.0, x=torch.randn(8, *shape), context=torch.randn(8, context)).double()


@pytest.fixture(scope="module")
def flow():
    return flow_of()


@pytest.fixture(scope="module")
def rows():
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(5, 1, 4, 4, generator=draws, dtype=torch.float64)
    return x, torch.randn(5, 2, generator=draws, dtype=torch.float64)


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_a_patch_sees_the_patches_before_it_alone(order):
    torch.manual_seed(0)
    network = stress(PatchTransformer((3, 2, 2), 2, width=16, order=order)).double()
    x = torch.randn(12, dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(network, x).abs().amax(1)
    assert ((slope > 0) == torch.as_tensor(network.graph)).all()
    line = [level[0] for level in network.levels]
    assert line == ([0, 1, 2, 3] if order == "ascending" else [3, 2, 1, 0])
    assert network.levels[0] == [line[0], line[0] + 4, line[0] + 8]


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_every_way_to_a_sample_gives_the_same(flow, rows, weight):
    _, given = rows
    z = torch.randn(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pushed = guided(flow, weight).eval()
    found = []
    for method in ("incremental", "levels", "jacobi"):
        for layer in pushed.modules():
            if isinstance(layer, Autoregressive):
                layer.inverse_method = method
        found.append(pushed.decode(z, given))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[2], found[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(pushed.encode(found[0], given), z, rtol=1e-8, atol=1e-8)


@torch.no_grad()
def test_guidance_pushes_away_from_what_no_class_says(flow, rows):
    x, given = rows
    plain = next(m for m in flow.modules() if isinstance(m, PatchTransformer))
    flat, none = x.flatten(1), torch.zeros_like(given)
    with_class, without = plain(flat, given), plain(flat, none)
    pushed = Guided(plain, 2.0)
    torch.testing.assert_close(pushed(flat, given), 3 * with_class - 2 * without)
    torch.testing.assert_close(guided(flow, 0.0).log_prob(x, given), flow.log_prob(x, given))
    torch.testing.assert_close(guided(flow, 2.0).log_prob(x, none), flow.log_prob(x, none))
    assert (guided(flow, 2.0).log_prob(x, given) != flow.log_prob(x, given)).all()


def test_what_cannot_be_guided_is_named(flow):
    with pytest.raises(ConfigError, match="no autoregressive layer that reads a context"):
        guided(NICE((1, 2, 2), hidden=(4,)), 1.0)
    with pytest.raises(ConfigError, match=r"weight=-1"):
        guided(flow, -1)
    with pytest.raises(ConfigError, match="context=0"):
        Guided(MaskedMLP(3, 2), 1.0)


def test_the_mean_of_a_clean_row_is_found_where_it_is_known():
    """x ~ N(0, S²), y = x + σ ε: E[x | y] = y S² / (S² + σ²), in units in which y ~ N(0, 1)."""
    scale, noise = 2.0, 0.5
    unit = (scale**2 + noise**2) ** 0.5
    flow = Flow(StandardNormal(1).double(), Identity())
    y = torch.tensor([[-3.0], [0.4], [2.0]], dtype=torch.float64)
    cleaned = unit * denoised(flow, y / unit, noise / unit)
    torch.testing.assert_close(cleaned, y * scale**2 / (scale**2 + noise**2))
    assert not cleaned.requires_grad
    with pytest.raises(ConfigError, match="noise=-1"):
        denoised(flow, y, -1)


def test_noise_and_left_out_classes_are_drawn_anew_and_by_the_seed(flow, rows):
    x, given = rows
    batch = Batch(x, given)
    seen = []

    class Seen(torch.nn.Module):
        def forward(self, x, context):
            seen.append((x, context))
            return x.flatten(1).sum(-1)

    objective = NoisyLikelihood(noise=0.1, drop=0.5)
    many = Batch(torch.zeros(4000, 1, 2, 2), torch.ones(4000, 3))
    torch.manual_seed(0)
    objective.loss(Seen(), many)
    torch.manual_seed(0)
    objective.loss(Seen(), many)
    assert torch.equal(seen[0][0], seen[1][0])
    assert seen[0][0].std().item() == pytest.approx(0.1, rel=0.03)
    kept = seen[0][1].mean(-1)
    assert set(kept.tolist()) == {0.0, 1.0}, "a context is left out whole"
    assert kept.mean().item() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(
        NoisyLikelihood(noise=0.0, drop=0.0).loss(flow, batch), -flow.log_prob(x, given).mean()
    )
    for wrong in ({"noise": -1}, {"drop": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            NoisyLikelihood(**wrong)


def test_a_law_of_the_wrong_size_is_refused():
    with pytest.raises(ConfigError, match="n_params=3"):
        Autoregressive(Affine(), PatchTransformer((1, 2, 2), 3, width=16))
