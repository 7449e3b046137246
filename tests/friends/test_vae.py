"""The VAE's bounds against closed forms, its decoders, its flows, its training."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import diffeo
from diffeo.distributions import Mixture
from diffeo.errors import ConfigError, DataError
from diffeo.flows import RealNVP
from diffeo.friends import VAE, DensityModel
from diffeo.friends.vae.likelihood import BernoulliLikelihood, CategoricalLikelihood, GaussianLikelihood

LATENT, COLUMNS = 2, 5


def factors(n=1500, seed=0):
    """Rows of a linear model with two factors, columns of standard deviation 1."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, LATENT))
    weights = np.random.default_rng(7).normal(size=(LATENT, COLUMNS))
    x = z @ weights + 0.5 * rng.normal(size=(n, COLUMNS))
    return (x - x.mean(0)) / x.std(0)


class PPCA:
    """Probabilistic PCA at its maximum likelihood: W = U (Λ − σ² I)^½, σ² the mean of the eigenvalues left.

    Source: Tipping & Bishop, *Probabilistic principal component analysis* (1999), equations 7 and 8.
    """

    def __init__(self, x, latent):
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        values, vectors = values[::-1], vectors[:, ::-1]
        self.noise = values[latent:].mean()
        self.weights = vectors[:, :latent] * np.sqrt(values[:latent] - self.noise)
        self.mean = x.mean(0)

    def log_prob(self, x):
        covariance = self.weights @ self.weights.T + self.noise * np.eye(len(self.mean))
        return multivariate_normal(self.mean, covariance).logpdf(x)


@pytest.fixture(scope="module")
def linear():
    """A linear VAE of a few steps, to be set or gone on with."""
    return VAE(LATENT, (), noise="shared", max_steps=1).fit(factors())


@pytest.fixture(scope="module")
def trained():
    return VAE(
        LATENT, (), noise="shared", max_steps=1200, learning_rate=2e-2, batch_size=256, patience=None
    ).fit(factors())


def set_to(model, ppca, *, inflated=1.0):
    """Give the decoder PPCA's weights, and the encoder the posterior N(M⁻¹Wᵀx, σ² M⁻¹), M = WᵀW + σ² I.

    M is diagonal, as W's columns are orthogonal: the posterior is one that the encoder can say.
    """
    m = (ppca.weights**2).sum(0) + ppca.noise
    log_scale = 0.5 * np.log(ppca.noise / m) + math.log(inflated)
    with torch.no_grad():
        model.decoder[0].weight.copy_(torch.from_numpy(ppca.weights))
        model.decoder[0].bias.zero_()
        scale = math.sqrt(ppca.noise) - model.floor
        model.likelihood.raw_scale.fill_(math.log(math.expm1(scale)))
        model.encoder[0].weight.zero_()
        model.encoder[0].weight[:LATENT] = torch.from_numpy((ppca.weights / m).T)
        model.encoder[0].bias[:LATENT] = 0
        model.encoder[0].bias[LATENT:] = torch.from_numpy(7 * np.arctanh(log_scale / 7))


def test_with_the_true_posterior_the_bound_is_the_likelihood_of_ppca(linear):
    x = factors()
    ppca = PPCA(x, LATENT)
    set_to(linear, ppca)
    np.testing.assert_allclose(linear.elbo(x, k=1), ppca.log_prob(x), atol=1e-4)
    np.testing.assert_allclose(linear.iwae_bound(x, k=3), ppca.log_prob(x), atol=1e-4)


def test_with_another_posterior_elbo_is_below_and_iwae_closes_in(linear):
    x = factors()
    ppca = PPCA(x, LATENT)
    set_to(linear, ppca, inflated=1.5)
    truth = ppca.log_prob(x).mean()
    bounds = [linear.elbo(x, k=64).mean(), *(linear.iwae_bound(x, k=k).mean() for k in (4, 64))]
    # KL(q ‖ p) of normals whose scales differ by 1.5: what the ELBO lacks, in each of the factors.
    assert bounds[0] == pytest.approx(truth - LATENT * (1.5**2 / 2 - 0.5 - math.log(1.5)), abs=0.01)
    assert bounds[0] < bounds[1] < bounds[2] < truth + 0.005
    assert bounds[2] > truth - 0.05


def test_a_trained_linear_vae_reaches_ppca(trained):
    """Its optimum is PPCA's, for the same noise: on new rows both have the same log p, nearly."""
    x = factors()
    truth = PPCA(x, LATENT).log_prob(x).mean()
    assert trained.elbo(x, k=64).mean() < truth + 0.005
    assert trained.iwae_bound(x, k=64).mean() == pytest.approx(truth, abs=0.05)
    scale = float(trained.likelihood.scale(torch.zeros(1, 1)).detach())
    assert scale**2 == pytest.approx(PPCA(x, LATENT).noise, rel=0.1)


def test_a_change_of_units_is_counted(trained):
    unit = np.array([1000.0, 1.0, 0.01, 3.0, 1.0])
    settings = {"noise": "shared", "max_steps": 30}
    a = VAE(LATENT, (), **settings).fit(factors())
    b = VAE(LATENT, (), **settings).fit(factors() * unit)
    np.testing.assert_allclose(
        a.log_prob(factors()) - b.log_prob(factors() * unit), np.log(unit).sum(), atol=1e-2
    )


def test_it_satisfies_the_protocol_and_says_what_bounds(trained):
    assert isinstance(trained, DensityModel)
    assert trained.density == "lower bound"
    assert "bounded from below by 64" in trained.describe()
    assert trained.n_parameters == 5 * 4 + 4 + 2 * 5 + 5 + 1
    assert (trained.log_prob(factors(20)) == trained.iwae_bound(factors(20), 64)).all()


def test_there_and_back(trained):
    x = factors(50)
    z = trained.encode(x)
    assert z.shape == (50, LATENT)
    again = trained.decode(z)
    assert np.corrcoef(again.ravel(), x.ravel())[0, 1] > 0.8
    w = trained.decoder[0].weight.detach().numpy() * trained._held("scale")[:, None]
    noise = float(trained.likelihood.scale(torch.zeros(1, 1)).detach()) * trained._held("scale")
    drawn = trained.sample(20_000, seed=1)
    np.testing.assert_allclose(np.cov(drawn.T), w @ w.T + np.diag(noise**2), atol=0.05)


def test_a_file_gives_it_back(trained, tmp_path):
    trained.save(tmp_path / "vae.safetensors")
    again = diffeo.load(tmp_path / "vae.safetensors")
    x = factors(30)
    assert (again.log_prob(x) == trained.log_prob(x)).all()
    assert (again.sample(3, seed=2) == trained.sample(3, seed=2)).all()
    assert again.describe() == trained.describe()


def test_a_seed_gives_the_same_weights_and_leaves_torch_as_it_was():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    models = [VAE(2, (8,), max_steps=8, seed=s).fit(factors(100)) for s in (1, 1, 2)]
    assert torch.equal(before, torch.random.get_rng_state())
    a, b, c = (m.log_prob(factors(20)) for m in models)
    assert (a == b).all()
    assert (a != c).any()
    assert (models[0].fit(factors(100)).log_prob(factors(20)) == a).all()


def test_a_flow_prior_and_a_flow_posterior_enter_the_bound(tmp_path):
    """Held against quadrature of p(x) = ∫ p(x | z) p(z) dz over the plane of z."""
    prior = RealNVP(2, couplings=2, hidden=(8,))
    posterior = RealNVP(2, 3, couplings=2, hidden=(8,))
    model = VAE(hidden=(8,), prior=prior, posterior=posterior, max_steps=300).fit(factors(300))
    assert model.latents.size == 2
    assert model.prior is not prior  # what was given stays as it was
    x = factors(300)[:6]
    axis = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        scored = model._scored(torch.from_numpy(x))
        joint = model.likelihood.log_prob(model.decoder(z)[:, None], scored)
        joint = joint + model.latents.prior.log_prob(z)[:, None]
    log_p = torch.logsumexp(joint.double(), 0) + 2 * math.log(12 / 240) + model._units().log_det
    np.testing.assert_allclose(model.iwae_bound(x, k=4000), log_p.numpy(), atol=0.1)
    assert (model.elbo(x, k=400) < log_p.numpy() + 0.05).all()
    model.save(tmp_path / "vae.safetensors")
    again = diffeo.load(tmp_path / "vae.safetensors")
    assert (again.log_prob(x) == model.log_prob(x)).all()


def test_a_base_may_be_the_prior():
    model = VAE(hidden=(8,), prior=Mixture(2, components=3), max_steps=5).fit(factors(100))
    assert np.isfinite(model.log_prob(factors(10))).all()


@pytest.mark.parametrize("decoder", ["bernoulli", "categorical"])
def test_masses_of_cells_sum_to_one(decoder):
    """Σ p(x) over all rows of two cells is 1, and exp of the bound is unbiased for p(x)."""
    levels = 2 if decoder == "bernoulli" else 3
    x = np.random.default_rng(0).integers(levels, size=(200, 2)).astype(float)
    x[:, 1] = x[:, 0]  # which depend entirely
    model = VAE(1, (16,), decoder=decoder, max_steps=300, learning_rate=1e-2).fit(x)
    rows = np.array(list(itertools.product(range(levels), repeat=2)), float)
    sums = [np.exp(model.iwae_bound(rows, k=500, seed=seed)).sum() for seed in range(40)]
    error = np.std(sums) / math.sqrt(len(sums))
    assert error < 0.02
    assert abs(np.mean(sums) - 1) < 4 * error + 1e-3
    drawn = model.sample(300)
    assert set(np.unique(drawn)) <= set(range(levels))
    assert (drawn[:, 0] == drawn[:, 1]).mean() > 0.75
    assert model.log_prob([[0.5, 0.0], [levels, 0.0], [0.0, 0.0]])[:2].tolist() == [-np.inf] * 2


def test_likelihoods_are_normalised_and_draw_what_they_say():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(1, 3, 4, generator=generator)
    categorical = CategoricalLikelihood(4)
    rows = torch.tensor(list(itertools.product(range(4), repeat=3)))
    masses = categorical.log_prob(raw.expand(64, -1, -1), rows)
    assert float(masses.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    many = raw.expand(4000, -1, -1)
    for one, r in ((categorical, many), (BernoulliLikelihood(), many[..., :1])):
        drawn = one.draw(r, generator)
        torch.testing.assert_close(drawn.mean(0), one.mean(r)[0], atol=0.08, rtol=0)
    local = GaussianLikelihood(3, "local", 0.1)
    assert (local.scale(torch.tensor([[0.0, -1e4]])) >= 0.1).all()
    torch.testing.assert_close(
        local.draw(many[..., :2], generator).std(0), local.scale(raw[0, :, :2]), atol=0.06, rtol=0
    )


def test_images_go_through_convolutions(tmp_path):
    from sklearn.datasets import load_digits

    x = load_digits().images[:300, None]
    model = VAE(4, (8, 8), max_steps=30).fit(x)
    assert model.sample(2).shape == (2, 1, 8, 8)
    assert model.decode(model.encode(x[:3])).shape == (3, 1, 8, 8)
    assert np.isfinite(model.log_prob(x[:5])).all()
    odd = np.random.default_rng(0).integers(3, size=(50, 2, 7, 5))
    cells = VAE(2, (8, 8), decoder="categorical", max_steps=3).fit(odd)
    assert cells.sample(2).shape == (2, 2, 7, 5)
    cells.save(tmp_path / "vae.safetensors")
    assert (diffeo.load(tmp_path / "vae.safetensors").log_prob(odd) == cells.log_prob(odd)).all()


def test_constant_columns_do_not_break_it():
    x = np.column_stack([factors(100), np.full(100, 7.0)])
    model = VAE(2, (8,), max_steps=20).fit(x)
    assert np.isfinite(model.log_prob(x)).all()


def test_ctrl_c_keeps_what_was_learned():
    looks = []

    def report(line):
        looks.append(line)
        raise KeyboardInterrupt

    model = VAE(2, (8,), max_steps=10_000).fit(factors(100), report=report)
    assert len(looks) == 1
    assert "interrupted" in model.describe()
    assert np.isfinite(model.log_prob(factors(10))).all()


def test_it_stops_early_on_held_out_rows(monkeypatch):
    monkeypatch.setattr("diffeo.friends.vae.training._RISEN", 100)
    model = VAE(2, (8,), max_steps=100_000, patience=1, batch_size=54).fit(factors(60))
    assert "early stopping" in model.describe()


def test_the_time_budget_is_kept():
    import time

    begun = time.perf_counter()
    model = VAE().fit(factors(), time_budget=1.0)
    assert time.perf_counter() - begun < 4.0
    assert "time_budget" in model.describe()


def test_wrong_arguments_are_named():
    cases = {
        "decoder": {"decoder": "gauss"},
        "noise": {"noise": "loud"},
        "levels": {"levels": 1},
        "hidden": {"hidden": 8},
        "posterior reads no context": {"posterior": RealNVP(2)},
        "prior reads a context": {"prior": RealNVP(2, 3)},
        "prior has events of 2": {"latent": 3, "prior": RealNVP(2)},
        "max_steps": {"max_steps": 0},
        "seed": {"seed": -1},
    }
    for argument, given in cases.items():
        with pytest.raises(ConfigError, match=argument):
            VAE(**given)
    with pytest.raises(ConfigError, match="expected images"):
        VAE(network="convolutional").fit(factors(50))
    with pytest.raises(DataError, match=r"x has 0\.5 in row 0"):
        VAE(decoder="bernoulli").fit([[0.5, 1.0], [0.0, 1.0]])
    with pytest.raises(ConfigError, match="fit has not been called"):
        VAE().sample(1)
