"""ContinuousDensity: an exact mixture, whatever the table."""

import time

import numpy as np
import pytest
import torch

import diffeo
from diffeo.errors import ConfigError, DataError, ShapeError
from diffeo.estimator import ContinuousDensity, Members
from diffeo.estimator.table import Table
from diffeo.files import save
from diffeo.kernels.native import library

SEED = 0


def moons(rows, seed=0):
    draws = np.random.default_rng(seed)
    angle, side = np.pi * draws.random(rows), draws.integers(2, size=rows)
    x = np.stack([np.cos(angle) + side - 0.5, np.sin(angle) * (1 - 2 * side) + 0.4 * side], 1)
    return 10 + 3 * (x + 0.1 * draws.normal(size=x.shape))


def one_fold(rows, seed=0):
    order = np.random.default_rng(seed).permutation(rows)
    return [(order[rows // 5 :], order[: rows // 5])]


def five_folds(rows, seed=0):
    parts = np.array_split(np.random.default_rng(seed).permutation(rows), 5)
    return [(np.concatenate([p for j, p in enumerate(parts) if j != k]), parts[k]) for k in range(5)]


def fitted(x, folds, steps=60, **settings):
    return ContinuousDensity.fit(x, folds, budget=np.inf, steps=steps, seed=SEED, **settings)


@pytest.fixture(scope="module")
def moon_density():
    x = moons(2_500)
    return x, *fitted(x, one_fold(len(x)))


def test_the_mixture_integrates_to_one_on_the_plane(moon_density):
    x, density, _ = moon_density
    low, high = x.min(0) - 4, x.max(0) + 4
    axes = [np.linspace(a, b, 301) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    assert np.exp(density.log_prob(grid)).sum() * cell == pytest.approx(1, abs=5e-3)


def test_on_the_line_too():
    draws = np.random.default_rng(0)
    x = np.where(draws.random(400) < 0.3, draws.normal(-4, 0.5, 400), draws.normal(2, 1, 400))[:, None]
    density, held = fitted(x, five_folds(len(x)))
    axis = np.linspace(-60, 60, 60_001)
    assert np.exp(density.log_prob(axis[:, None])).sum() * (axis[1] - axis[0]) == pytest.approx(1, abs=5e-3)
    assert len(held) == 400
    negative_entropy = -1.9  # of two normals like these, about
    assert held.mean() > negative_entropy - 0.2


def test_samples_agree_with_the_density(moon_density):
    x, density, _ = moon_density
    draws = density.sample(4_000, seed=1)
    assert np.isfinite(draws).all()
    other = density.sample(4_000, seed=2)
    mean, spread = density.log_prob(draws).mean(), density.log_prob(other).std()
    assert mean == pytest.approx(density.log_prob(other).mean(), abs=4 * spread * np.sqrt(2 / 4_000))
    # The mass of a box, by quadrature and by draws.
    low, high = np.quantile(x, 0.3, 0), np.quantile(x, 0.8, 0)
    axes = [np.linspace(a, b, 201)[:-1] + (b - a) / 400 for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(density.log_prob(grid)).mean() * np.prod(high - low)
    inside = ((draws > low) & (draws < high)).all(1).mean()
    assert inside == pytest.approx(mass, abs=4 * np.sqrt(mass / 4_000))


def test_it_is_never_much_worse_than_the_best_member(moon_density):
    x, density, held = moon_density
    _, left = one_fold(len(x))[0]
    members = density.model.log_probs(x[left]).mean(0)
    assert held.mean() >= members.max() - 0.01
    assert density.log_prob(x[left]) == pytest.approx(held, abs=1e-3)
    assert sum(weight for _, weight, _ in density.members) == pytest.approx(1)
    assert any("weight" in line for line in density.report)


def test_the_same_steps_and_seed_give_the_same_density():
    x = moons(300)
    first, second = (fitted(x, one_fold(300), steps=20)[0].log_prob(x) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_budget_is_kept(monkeypatch):
    x = moons(4_000)
    library()  # compiled once on a machine
    # By processor time: other programs on the machine are no fault of the fit.
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    begun = time.perf_counter()
    ContinuousDensity.fit(x, one_fold(len(x)), budget=3.0, seed=SEED)
    assert 1.5 < time.perf_counter() - begun < 4.5


def test_rows_of_a_context_move_the_density():
    draws = np.random.default_rng(0)
    c = draws.normal(size=(2_000, 1)) * 50 + 100
    x = np.concatenate([np.sin(c / 30) + 0.1 * draws.normal(size=c.shape), draws.normal(size=c.shape)], 1)
    density, held = fitted(x, one_fold(len(x)), steps=200, context=c)
    without, alone = fitted(x, one_fold(len(x)), steps=200)
    assert held.mean() > alone.mean() + 0.5
    assert without.log_prob(x).shape == (2_000,)
    sample = density.sample(2_000, seed=0, context=c)
    assert np.abs(sample[:, 0] - np.sin(c[:, 0] / 30)).mean() < 0.5
    with pytest.raises(ShapeError, match="context"):
        density.log_prob(x)
    with pytest.raises(ShapeError, match="context"):
        without.log_prob(x, c)


def test_completion_of_a_gaussian_is_its_conditional():
    draws = np.random.default_rng(0)
    factor = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.5, 0.3, 0.7]])
    x = 5 + draws.normal(size=(3_000, 3)) @ factor.T
    density, _ = fitted(x, one_fold(len(x)), architecture="gaussian")
    known = np.array([[True, False, True]])
    row = np.array([[6.0, np.nan, 4.0]])
    filled, log_weight = density.complete(row, known, seed=0, draws=20_000)
    assert (filled[0, :, [0, 2]] == np.array([[6.0], [4.0]])).all()
    weight = np.exp(log_weight[0] - log_weight[0].max())
    weight /= weight.sum()
    covariance = factor @ factor.T
    gain = covariance[1, [0, 2]] @ np.linalg.inv(covariance[np.ix_([0, 2], [0, 2])])
    mean = 5 + gain @ np.array([1.0, -1.0])
    deviation = np.sqrt(covariance[1, 1] - gain @ covariance[[0, 2], 1])
    found = weight @ filled[0, :, 1]
    assert found == pytest.approx(mean, abs=0.1)
    assert np.sqrt(weight @ (filled[0, :, 1] - found) ** 2) == pytest.approx(deviation, abs=0.1)
    apart = np.array([1.0, -1.0])
    two = covariance[np.ix_([0, 2], [0, 2])]
    marginal = -0.5 * apart @ np.linalg.solve(two, apart) - 0.5 * np.linalg.slogdet(2 * np.pi * two)[1]
    assert np.log(np.exp(log_weight[0]).mean()) == pytest.approx(marginal, abs=0.1)


def test_weights_of_completions_estimate_the_mass_of_what_is_known(moon_density):
    x, density, _ = moon_density
    rows = x[:6].copy()
    known = np.zeros_like(rows, dtype=bool)
    known[:, 0] = True
    known[4] = True
    rows[~known] = np.nan
    filled, log_weight = density.complete(rows, known, seed=3, draws=4_000)
    assert np.isfinite(filled).all()
    assert filled[4, 0] == pytest.approx(x[4])
    assert log_weight[4] == pytest.approx(density.log_prob(x[4:5])[0])
    axis = np.linspace(-10, 30, 8_001)
    for k in (0, 1):
        line = np.stack([np.full(len(axis), x[k, 0]), axis], 1)
        marginal = np.exp(density.log_prob(line)).sum() * (axis[1] - axis[0])
        assert np.exp(log_weight[k]).mean() == pytest.approx(marginal, rel=0.15)


def test_encode_and_decode(moon_density):
    x, density, _ = moon_density
    assert density.decode(density.encode(x)) == pytest.approx(x, abs=1e-2)
    gaussian, _ = fitted(x, one_fold(len(x)), architecture="gaussian")
    z = gaussian.encode(x)
    assert gaussian.decode(z) == pytest.approx(x, abs=1e-8)
    assert z.mean(0) == pytest.approx([0, 0], abs=0.1)


@pytest.mark.parametrize("folds", [one_fold, five_folds])
def test_a_file_brings_it_back(tmp_path, folds):
    x = moons(200)
    density, _ = fitted(x, folds(200), steps=15)
    save(density.model, tmp_path / "model.safetensors")
    model = diffeo.load(tmp_path / "model.safetensors")
    assert isinstance(model, Members)
    again = ContinuousDensity(model, density.report, density.centre)
    assert np.array_equal(again.log_prob(x), density.log_prob(x))
    assert np.array_equal(again.sample(20, seed=0), density.sample(20, seed=0))


def test_more_rows_refine_it():
    x, fresh = moons(2_500), moons(2_000, seed=9)
    density, _ = fitted(x[:600], one_fold(600), steps=40)
    more, again = density.refine(x, one_fold(2_500), budget=np.inf, steps=150, seed=0)
    assert more.log_prob(fresh).mean() > density.log_prob(fresh).mean() + 0.02
    assert len(again) == 500


@pytest.mark.parametrize(
    "make",
    [
        lambda x: np.concatenate([x, x[:, :1]], 1),
        lambda x: np.concatenate([x, x.sum(1, keepdims=True)], 1),
        lambda x: x * np.array([1e-200, 1e150]),
        lambda x: x + 1e9,
        lambda x: np.exp(x),
    ],
    ids=["duplicated", "collinear", "scales", "far", "skewed"],
)
def test_hostile_columns(make):
    x = make(moons(150))
    density, held = fitted(x, five_folds(150), steps=10)
    assert np.isfinite(held).all()
    assert np.isfinite(density.log_prob(x)).all()
    assert np.isfinite(density.sample(50, seed=0)).all()


@pytest.mark.parametrize("rows", [3, 30])
def test_few_rows(rows):
    x = moons(rows)
    folds = five_folds(rows) if rows > 5 else [(np.array([0, 1]), np.array([2]))]
    density, held = fitted(x, folds, steps=10)
    assert np.isfinite(held).all()
    assert np.isfinite(density.log_prob(moons(100, seed=1))).all()


def test_bounds_are_kept():
    x = np.random.default_rng(0).exponential(size=(400, 2))
    density, _ = fitted(x, five_folds(400), steps=15, low=[0.0, None])
    assert (density.sample(2_000, seed=0)[:, 0] >= 0).all()
    assert density.log_prob(np.array([[-1.0, 1.0]]))[0] == -np.inf


def test_hostile_rows_are_their_own():
    x = moons(200)
    density, _ = fitted(x, five_folds(200), steps=10)
    spoilt = np.concatenate([x, [[np.nan, 1.0], [np.inf, 0.0], [1e300, 0.0]]])
    found = density.log_prob(spoilt)
    assert found[:200] == pytest.approx(density.log_prob(x), abs=1e-5)
    assert np.isnan(found[200])
    assert found[201] == -np.inf
    assert not found[202] > -50


@pytest.mark.parametrize(
    ("x", "folds", "settings", "error", "text"),
    [
        (moons(1), [], {}, DataError, "1 row"),
        (moons(40), [], {}, DataError, "folds is empty"),
        (np.ones((40, 2)), one_fold(40), {}, DataError, "one value only"),
        (moons(40)[:, 0], one_fold(40), {}, ShapeError, "expected \\(rows, columns\\)"),
        (np.full((40, 2), np.nan), one_fold(40), {}, DataError, "NaN"),
        (moons(40), one_fold(40), {"architecture": "nsf"}, ConfigError, "architecture"),
        (moons(40), one_fold(40), {"low": [0.0]}, ShapeError, "low"),
        (moons(40), one_fold(40), {"context": np.zeros((3, 1))}, ShapeError, "context"),
    ],
)
def test_errors_come_before_training(x, folds, settings, error, text):
    with pytest.raises(error, match=text):
        fitted(x, folds, **settings)


def test_numbers_of_threads_and_torch_are_left_alone():
    before = torch.get_rng_state()
    fitted(moons(100), one_fold(100), steps=5)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("seconds", "kinds"), [((9.0, 0.1, 0.2), ["gaussian", "standard"]), ((9.0,) * 3, ["standard"])]
)
def test_the_first_reading_of_a_column_in_a_process_decides_nothing(monkeypatch, seconds, kinds):
    taken = iter(seconds)
    monkeypatch.setattr(Table, "_takes", lambda self: next(taken))
    x = np.random.default_rng(0).normal(size=(50, 2))
    table = Table(x, [(np.arange(40), np.arange(40, 50))], None, None, None, 0, seconds=1.0)
    assert table.kinds() == kinds
