"""Measures of two samples: closed forms, tests that keep their level, and differences that are found."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from diffeo.diagnostics.samples import (
    classifier_two_sample,
    energy_distance,
    memorisation,
    mmd,
    precision_recall,
)
from diffeo.diagnostics.samples.pairs import means_of_pairs, permuted
from diffeo.diagnostics.samples.ranks import area, midranks
from diffeo.errors import ConfigError, DataError
from diffeo.objectives import MMD, Batch, EnergyDistance

MEASURES = [classifier_two_sample, mmd, energy_distance, precision_recall]
QUICK = {"permutations": 99}


def pair(n, shift=0.0, columns=2, seed=0):
    draws = np.random.default_rng(seed)
    x, y = draws.normal(size=(2, n, columns))
    return x, y + shift


def logistic(x, y, seed):
    return classifier_two_sample(x, y, seed, classifier=LogisticRegression())


TESTS = [
    pytest.param(logistic, id="classifier"),
    pytest.param(lambda x, y, seed: mmd(x, y, seed=seed, **QUICK), id="mmd"),
    pytest.param(lambda x, y, seed: energy_distance(x, y, seed=seed, **QUICK), id="energy"),
    pytest.param(lambda x, y, seed: memorisation(x, y[:80], y[80:], seed=seed, **QUICK), id="copies"),
]


@pytest.mark.parametrize("measure", TESTS)
def test_under_one_law_p_values_are_not_too_small(measure):
    p = np.sort([measure(*pair(120, seed=seed), seed).p_value for seed in range(80)])
    # Kolmogorov's one-sided distance above the uniform law: e^(−2 · 80 · 0.22²) is 0.0004.
    above = np.arange(1, 81) / 80 - p
    assert above.max() < 0.22
    if measure is not logistic:  # which is held to no more than its level
        assert (p - np.arange(80) / 80).max() < 0.22


@pytest.mark.parametrize("measure", TESTS[:3])
def test_a_shift_is_found(measure):
    assert measure(*pair(150, shift=0.7), 0).p_value <= 0.01


def test_trees_find_what_no_line_separates():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(800, 2))
    angle = draws.uniform(0, 2 * math.pi, 800)
    ring = 1.5 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * draws.normal(size=(800, 2))
    found = classifier_two_sample(x, ring)
    # How often the best classifier is right, by quadrature along the radius.
    r = np.linspace(1e-4, 6, 60_000)
    normal = r * np.exp(-r * r / 2)
    ringed = r * np.exp(-((r - 1.5) ** 2) / 0.02) / np.sqrt(r * 1.5)  # Bessel's function at large arguments
    best = 0.5 * (np.maximum(normal / normal.sum(), ringed / ringed.sum())).sum()
    assert best - 0.06 < found.accuracy < best + 3 * found.accuracy_error
    assert found.p_value < 1e-6
    assert logistic(x, ring, 0).p_value > 1e-6
    assert "tells them apart" in str(found)


def test_the_accuracy_is_that_of_the_best_classifier_where_it_is_known():
    """Of N(0, 1) and N(2, 1) the best border is 1, and right with probability Φ(1)."""
    found = logistic(*pair(2000, shift=2.0, columns=1), 0)
    assert abs(found.accuracy - 0.8413) < 3 * found.accuracy_error
    assert abs(found.auc - 0.9214) < 3 * found.auc_error  # Φ(2 / √2)


def test_mmd_of_two_normals_is_the_closed_form():
    """E k(x, y) of N(μ, 1), N(ν, 1) is h / √(h² + 2) · exp(−(μ − ν)² / 2(h² + 2))."""
    h, shift = 1.3, 0.8
    exact = 2 * h / math.sqrt(h * h + 2) * (1 - math.exp(-(shift**2) / (2 * (h * h + 2))))
    found = mmd(*pair(2000, shift, 1), width=h, **QUICK)
    assert abs(found.squared - exact) < 3 * found.error
    assert found.value == pytest.approx(math.sqrt(found.squared))


def test_energy_distance_of_two_normals_is_the_closed_form():
    """E|x − y| of a normal difference of mean d and variance 2: 2/√π e^(−d²/4) + d erf(d/2)."""
    d = 0.8
    apart = 2 / math.sqrt(math.pi) * math.exp(-d * d / 4) + d * math.erf(d / 2)
    exact = 2 * apart - 4 / math.sqrt(math.pi)
    found = energy_distance(*pair(2000, d, 1), **QUICK)
    assert abs(found.value - exact) < 3 * found.error


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_errors_are_the_spread_over_samples(shift):
    for measure, of in ((mmd, "squared"), (energy_distance, "value")):
        found = [
            measure(
                *pair(150, shift, seed=seed), permutations=1, **({"width": 1.5} if measure is mmd else {})
            )
            for seed in range(60)
        ]
        spread = np.std([getattr(one, of) for one in found])
        told = np.mean([one.error for one in found])
        # The spread of 60 has an error of 9 %; without a difference the error is up to √2 too large.
        assert 0.75 < told / spread < (1.3 if shift else 1.8)


class _Drawn(torch.nn.Module):
    """What the objectives need of a flow: draws, given beforehand."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows
        self.base = self

    differentiable = True

    def rsample(self, shape, context=None):
        return self.rows


def test_values_are_those_of_the_objectives(monkeypatch):
    monkeypatch.setattr("diffeo.objectives.samples.check_differentiable", lambda flow, model: None)
    x, y = pair(50, 0.5)
    flow, batch = _Drawn(torch.as_tensor(y)), Batch(torch.as_tensor(x))
    loss = MMD(widths=[1.2]).loss(flow, batch)
    assert mmd(x, y, width=1.2, **QUICK).squared == pytest.approx(float(loss), abs=1e-12)
    loss = EnergyDistance().loss(flow, batch)
    assert energy_distance(x, y, **QUICK).value == pytest.approx(float(loss), abs=1e-12)


def test_divisions_are_what_the_formula_says_of_them():
    x, y = pair(9, 1.0)
    rows = np.concatenate([x, y[:5]])
    pairs = np.abs(rows[:, None] - rows[None]).sum(-1)
    given = np.random.default_rng(3)
    order = np.random.default_rng(3).permutation(14)
    chosen = np.concatenate([np.sort(order[:9]), np.sort(order[9:])])
    expected, _ = means_of_pairs(pairs[np.ix_(chosen, chosen)], 9)
    assert permuted(pairs, 9, 1, given)[0] == pytest.approx(expected)


def test_the_area_counts_ties_as_half():
    draws = np.random.default_rng(0)
    a, b = draws.integers(0, 5, 40).astype(float), draws.integers(0, 4, 30).astype(float)
    pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
    assert area(a, b)[0] == pytest.approx(pairs)
    assert area(np.ones(4), np.ones(3))[::2] == (0.5, 0.5)
    from scipy.stats import mannwhitneyu, rankdata

    assert midranks(a).tolist() == rankdata(a).tolist()
    exact = mannwhitneyu(a, b, alternative="greater", method="asymptotic", use_continuity=False).pvalue
    assert area(a, b)[2] == pytest.approx(float(exact))


# -- precision and recall, density and coverage ---------------------------------------------------


def modes(n, kept, seed):
    """Return rows of eight narrow modes on a circle, of which ``kept`` are drawn."""
    draws = np.random.default_rng(seed)
    angle = draws.choice(kept, n) * math.pi / 4
    return 3 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * draws.normal(size=(n, 2))


def test_of_one_law_all_four_are_what_they_should_be():
    found = precision_recall(modes(1000, 8, 0), modes(1000, 8, 1), k=5)
    assert abs(found.coverage - (1 - 2**-5)) < 4 * found.errors[3]
    assert abs(found.density - 1) < 5 * found.errors[2]
    assert found.precision > 0.95
    assert found.recall > 0.95


def test_dropped_modes_show_in_recall_and_coverage_and_not_in_precision():
    found = precision_recall(modes(1000, 8, 0), modes(1000, [0, 3], 1))
    assert found.precision > 0.95
    assert abs(found.recall - 0.25) < 0.06
    assert abs(found.coverage - 0.25) < 0.06
    assert f"{found.recall:.1%}" in str(found)


def test_draws_between_the_modes_show_in_precision_and_not_in_recall():
    between = np.random.default_rng(2).uniform(-4, 4, (1000, 2))
    found = precision_recall(modes(1000, 8, 0), between)
    assert found.precision < 0.2
    assert found.density < 0.2
    assert found.recall > 0.9


def test_the_region_is_that_of_the_published_definition():
    data, samples = pair(30, 0.5)
    found = precision_recall(data, samples, k=3)

    def inside(points, of):
        hits = np.zeros(len(points), bool)
        for centre in of:
            radius = np.sort(np.linalg.norm(of - centre, axis=1))[3]
            hits |= np.linalg.norm(points - centre, axis=1) <= radius
        return hits.mean()

    assert found.precision == pytest.approx(inside(samples, data))
    assert found.recall == pytest.approx(inside(data, samples))


# -- memorisation ----------------------------------------------------------------------------------


def test_copies_of_training_rows_are_found():
    train, held = pair(200)
    found = memorisation(train + 1e-6, train, held)
    assert found.share == 1.0
    assert found.p_value < 0.002
    assert found.ratio < 1e-3
    assert found.closer == 1.0
    assert "favour the rows trained on" in str(found)


def test_a_fifth_of_copies_is_enough():
    train, held = pair(400)
    fresh = pair(400, seed=5)[0]
    fresh[::5] = train[::5]
    assert memorisation(fresh, train, held).p_value < 0.02


def test_draws_of_the_densest_places_only_are_no_copies():
    """They are near to training rows, but to held-out rows too."""
    train, held = pair(400)
    dense = 0.3 * pair(400, seed=5)[0]
    found = memorisation(dense, train, held)
    assert found.closer > 0.6
    assert found.ratio < 0.8
    assert found.p_value > 0.05


# -- what is given ----------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_what_cannot_be_compared_is_named(measure):
    x, y = pair(20)
    with pytest.raises(DataError, match="not finite, first row 3"):
        measure(np.where(np.arange(20)[:, None] == 3, np.nan, x), y)
    with pytest.raises(DataError, match=r"2 numbers a row and .* 1"):
        measure(x, y[:, :1])
    with pytest.raises(DataError, match=r"shape \(1, 2\)"):
        measure(x[:1], y)
    with pytest.raises(ConfigError, match="most"):
        measure(x, y, most=1)
    with pytest.raises(ConfigError, match="seed"):
        measure(x, y, seed=-1)


@pytest.mark.parametrize("measure", MEASURES)
def test_images_and_constant_columns_and_unlike_counts_are_taken(measure):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(40, 1, 2, 2)), draws.normal(size=(30, 1, 2, 2))
    x[:, 0, 0, 0] = y[:, 0, 0, 0] = 7.0
    flat = measure(x.reshape(40, 4), y.reshape(30, 4))
    assert measure(x, y) == flat
    assert measure(x, y, seed=0) == flat  # the same seed, the same figures
    same = measure(np.zeros((20, 2)), np.zeros((20, 2)))
    assert str(same).endswith(".")


def test_the_rows_looked_at_are_as_many_as_asked_for():
    x, y = pair(100)
    assert precision_recall(x, y, most=50).rows == 50
    assert classifier_two_sample(x, y, most=50).rows == 50
