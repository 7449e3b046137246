"""The GAN: its losses against their formulas, that it learns, and that it says it has no density."""

import math

import numpy as np
import pytest
import torch

import diffeo
from diffeo.errors import ConfigError, DataError, NoDensityError, UserError
from diffeo.friends import GAN, DensityModel
from diffeo.friends.gan.losses import critic_loss, generator_loss

LOSSES = ["non-saturating", "hinge", "wgan-gp"]


def rows(n=500):
    return np.random.default_rng(0).normal(size=(n, 2)) * [3.0, 0.1] + [10.0, -1.0]


@pytest.fixture(scope="module", params=LOSSES)
def trained(request):
    return GAN(request.param, latent=4, hidden=(32,), max_steps=500, learning_rate=3e-3).fit(rows())


def test_it_learns_mean_and_spread_in_the_datas_units(trained):
    drawn = trained.sample(2000)
    assert drawn.shape == (2000, 2)
    assert drawn.dtype == np.float64
    assert (np.abs(drawn.mean(0) - [10.0, -1.0]) < 0.35 * np.array([3.0, 0.1])).all()
    assert (drawn.std(0) / [3.0, 0.1] > 0.6).all()
    assert (drawn.std(0) / [3.0, 0.1] < 1.5).all()


def test_it_has_no_density_and_says_why(trained):
    assert isinstance(trained, DensityModel)
    assert trained.density == "implicit"
    with pytest.raises(NoDensityError, match="integral over every z") as caught:
        trained.log_prob(rows())
    assert isinstance(caught.value, UserError | TypeError)
    assert "has no density" in trained.describe()


def test_a_file_gives_it_back(trained, tmp_path):
    trained.save(tmp_path / "gan.safetensors")
    again = diffeo.load(tmp_path / "gan.safetensors")
    assert (again.sample(5, seed=1) == trained.sample(5, seed=1)).all()
    assert (again.criticise(rows(9)) == trained.criticise(rows(9))).all()
    assert (again.describe(), again.n_parameters) == (trained.describe(), trained.n_parameters)


def test_its_losses_are_their_formulas():
    """For a linear critic d(x) = a·x every term is known."""
    a = torch.tensor([0.6, 0.8])
    x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [-1.0, 0.0]])
    on_x, on_y = x @ a, y @ a
    share = torch.full((2, 1), 0.5)

    def found(loss, penalty):
        return float(critic_loss(loss, lambda v: (v @ a)[:, None], x, y, penalty, share).detach())

    sigmoid = -(on_x.sigmoid().log().mean() + (-on_y).sigmoid().log().mean())
    assert found("non-saturating", 0.0) == pytest.approx(float(sigmoid), rel=1e-6)
    assert found("non-saturating", 3.0) == pytest.approx(float(sigmoid) + 1.5, rel=1e-6)  # ‖a‖ = 1
    hinge = (1 - on_x).relu().mean() + (1 + on_y).relu().mean()
    assert found("hinge", 0.0) == pytest.approx(float(hinge), rel=1e-6)
    a *= 3
    distance = float((y @ a).mean() - (x @ a).mean())
    assert found("wgan-gp", 10.0) == pytest.approx(distance + 10 * (3 - 1) ** 2, rel=1e-5)
    assert float(generator_loss("hinge", on_y)) == pytest.approx(-float(on_y.mean()))
    assert float(generator_loss("non-saturating", torch.zeros(3))) == pytest.approx(math.log(2))


def test_a_seed_gives_the_same_weights_and_leaves_torch_as_it_was():
    before = torch.random.get_rng_state()
    a, b, c = (GAN(hidden=(8,), max_steps=6, seed=s).fit(rows(100)).sample(4) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.parametrize("loss", LOSSES)
def test_images_go_through_convolutions(loss):
    x = np.random.default_rng(0).normal(size=(60, 1, 8, 8))
    model = GAN(loss, hidden=(8, 8), max_steps=3).fit(x)
    assert model.sample(2).shape == (2, 1, 8, 8)
    assert model.criticise(x).shape == (60,)


def test_ctrl_c_keeps_the_generator_so_far():
    def report(line):
        raise KeyboardInterrupt

    model = GAN(hidden=(8,), max_steps=10_000).fit(rows(100), report=report)
    assert "interrupted" in model.describe()
    assert np.isfinite(model.sample(10)).all()


def test_the_time_budget_is_kept():
    import time

    begun = time.perf_counter()
    model = GAN().fit(rows(), time_budget=1.0)
    assert time.perf_counter() - begun < 4.0
    assert "time_budget" in model.describe()


def test_wrong_arguments_are_named():
    for argument, given in {
        "loss": {"loss": "minimax"},
        "latent": {"latent": 0},
        "critic_steps": {"critic_steps": 0},
        "penalty": {"penalty": -1},
        "averaging": {"averaging": 1},
        "network": {"network": "cnn"},
    }.items():
        with pytest.raises(ConfigError, match=argument):
            GAN(**given)
    model = GAN(hidden=(8,), max_steps=2).fit(rows(50))
    with pytest.raises(DataError, match=r"expected \(rows, 2\)"):
        model.criticise(rows()[:, :1])
    with pytest.raises(DataError, match=r"z has shape \(3, 2\)"):
        model.generate(np.zeros((3, 2)))


def test_rows_in_any_memory_are_taken():
    x = rows(50)[::-1, ::-1]
    x.setflags(write=False)
    assert GAN(hidden=(8,), max_steps=2).fit(x).criticise(x).shape == (50,)
