"""What every classical friend promises: the protocol, a density in the data's own units, a file."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import diffeo
from diffeo.errors import ConfigError, DataError
from diffeo.friends import DensityModel, Gaussian, GaussianCopula, GaussianMixture, KernelDensity

FRIENDS = [
    Gaussian,
    *(
        lambda c=c: GaussianMixture(components=(1, 2, 3), covariances=(c,))
        for c in ("full", "tied", "diag", "spherical")
    ),
    lambda: KernelDensity(bandwidths=5),
    lambda: GaussianCopula(kernels=100),
]
each = pytest.mark.parametrize("make", FRIENDS)


def rows(n: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [5.0, -3.0]


def test_the_gaussian_is_the_maximum_likelihood_one():
    x = rows()
    expected = multivariate_normal(x.mean(0), np.cov(x.T, bias=True)).logpdf(x)
    np.testing.assert_allclose(Gaussian().fit(x).log_prob(x), expected, atol=1e-10)


@each
def test_mass_is_one(make):
    friend = make().fit(rows())
    a, b = np.linspace(-10, 20, 200), np.linspace(-12, 6, 200)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(friend.log_prob(grid)).sum() * (a[1] - a[0]) * (b[1] - b[0])
    assert mass == pytest.approx(1.0, abs=1e-3)


@each
def test_a_change_of_unit_shifts_the_log_density_by_its_logarithm(make):
    x, unit = rows(), np.array([1000.0, 1.0])
    shift = make().fit(x).log_prob(x) - make().fit(x * unit).log_prob(x * unit)
    np.testing.assert_allclose(shift, np.log(1000), atol=1e-6)


@each
def test_draws_have_the_density(make):
    """E exp of any bounded function of draws is that under p: here, of p itself, by quadrature."""
    friend = make().fit(rows())
    a, b = np.linspace(-10, 20, 200), np.linspace(-12, 6, 200)
    grid = np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2)
    p = np.exp(friend.log_prob(grid)) * (a[1] - a[0]) * (b[1] - b[0])
    drawn = friend.sample(5_000, seed=1)
    assert drawn.shape == (5_000, 2)
    assert drawn.dtype == np.float64
    for function in (lambda x: x, np.square, lambda x: x[:, :1] * x[:, 1:], lambda x: np.cos(3 * x)):
        values = function(drawn)
        error = values.std(0) / np.sqrt(len(values))
        assert (np.abs(values.mean(0) - p @ function(grid)) < 4.5 * error + 1e-3).all()


@each
def test_a_seed_gives_the_same_draws(make):
    friend = make().fit(rows())
    assert (friend.sample(5, seed=3) == friend.sample(5, seed=3)).all()
    assert (friend.sample(5, seed=3) != friend.sample(5, seed=4)).all()
    assert friend.sample(0).shape == (0, 2)


@each
def test_it_satisfies_the_protocol(make):
    friend = make()
    assert isinstance(friend, DensityModel)
    assert friend.n_parameters == 0
    assert friend.density == "exact"
    told = []
    assert friend.fit(rows(), time_budget=100, report=told.append) is friend
    assert friend.n_parameters > 0
    assert friend.describe()


@each
def test_a_file_gives_it_back(make, tmp_path):
    friend = make().fit(rows())
    friend.save(tmp_path / "friend.safetensors")
    again = diffeo.load(tmp_path / "friend.safetensors")
    assert type(again) is type(friend)
    assert (again.log_prob(rows()) == friend.log_prob(rows())).all()
    assert (again.sample(4, seed=1) == friend.sample(4, seed=1)).all()
    assert (again.describe(), again.n_parameters) == (friend.describe(), friend.n_parameters)
    assert (again.fit(rows()).log_prob(rows()) == friend.log_prob(rows())).all()


@each
def test_it_is_fitted_again_to_rows_of_another_shape(make):
    friend = make().fit(rows())
    assert friend.fit(rows()[:200, :1]).sample(2).shape == (2, 1)


@each
def test_a_fit_that_fails_keeps_what_was_fitted(make):
    friend = make().fit(rows())
    before = friend.log_prob(rows())
    with pytest.raises(DataError):
        friend.fit(rows()[:1])
    assert (friend.log_prob(rows()) == before).all()


@each
def test_nothing_can_be_asked_before_the_fit(make, tmp_path):
    for call in (
        lambda f: f.log_prob(rows()),
        lambda f: f.sample(1),
        lambda f: f.describe(),
        lambda f: f.save(tmp_path / "x.safetensors"),
    ):
        with pytest.raises(ConfigError, match="fit has not been called"):
            call(make())


@each
def test_wrong_arguments_are_named(make):
    friend = make().fit(rows())
    for argument, call in {
        "time_budget": lambda: friend.fit(rows(), time_budget=0),
        "report": lambda: friend.fit(rows(), report="loud"),
        "n=-1": lambda: friend.sample(-1),
        "seed": lambda: friend.sample(1, seed=-1),
    }.items():
        with pytest.raises(ConfigError, match=argument):
            call()


def test_parameters_are_counted_once():
    x = rows()
    assert Gaussian().fit(x).n_parameters == 2 + 3
    counts = {
        c: GaussianMixture(components=(3,), covariances=(c,)).fit(x).n_parameters
        for c in ("full", "tied", "diag", "spherical")
    }
    assert counts == {c: 2 + 6 + k for c, k in {"full": 9, "tied": 3, "diag": 6, "spherical": 3}.items()}
    assert KernelDensity(bandwidths=1).fit(x).n_parameters == 601


def test_the_mixture_finds_two_clusters():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-5, 1, (200, 1)), rng.normal(5, 1, (200, 1))])
    assert GaussianMixture().fit(x).describe().startswith("2 components")


def test_a_large_seed_stands_in_a_file(tmp_path):
    """Sizes beyond the file's own are refused (tests/files); a seed is no size."""
    friend = GaussianMixture(components=(1,), seed=2**31).fit(rows())
    friend.save(tmp_path / "friend.safetensors")
    assert diffeo.load(tmp_path / "friend.safetensors").seed == 2**31


@each
def test_bad_rows_are_named(make):
    with pytest.raises(DataError, match="row 1"):
        make().fit([[0.0], [np.nan]])
