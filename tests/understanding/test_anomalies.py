"""Anomalies: rates that are kept, columns and nearest rows that are right, words that say it."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, poisson

import diffeo
from diffeo.diagnostics.significance import central_ranks, discoveries, holm, lower_ranks
from diffeo.tables.variable import Encoded, Variable
from diffeo.understanding import anomalies
from diffeo.understanding.nearest import nearest_likely
from diffeo.understanding.surprisal import surprisals
from tests.understanding.conftest import people

SHIFT = np.array([0.0, 1.0, -2.0])
COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 25.0]])
NUMBERS = [Variable(name, 0, numeric=True) for name in "abc"]


def normal_rows(count, seed):
    value = np.random.default_rng(seed).multivariate_normal(SHIFT, COVARIANCE, count)
    return Encoded(np.zeros(value.shape, np.int64), value)


def normal_log_prob(rows):
    return np.atleast_1d(multivariate_normal(SHIFT, COVARIANCE).logpdf(rows.value))


@pytest.mark.parametrize("held", [1, 2, 9, 10])
@pytest.mark.parametrize("ranks", [lower_ranks, central_ranks])
def test_conformal_ranks_never_reject_too_often(ranks, held):
    scores = np.random.default_rng(held).standard_t(2, size=(4_000, held + 1))
    p = np.array([ranks(one[:-1], one[-1:])[0] for one in scores])
    for rate in (0.1, 0.2, 0.5):
        assert (p <= rate).mean() <= rate + 4 * (rate * (1 - rate) / len(p)) ** 0.5


def test_ties_and_infinite_scores_are_ranked_conservatively():
    held = np.array([-np.inf, 0.0, 0.0, 0.0, 1.0])
    assert lower_ranks(held, np.array([-np.inf, 0.0, 2.0])).tolist() == [2 / 6, 5 / 6, 1.0]
    assert central_ranks(held, np.array([-np.inf])).tolist() == [2 / 6]
    with pytest.raises(diffeo.errors.DataError, match="half"):
        central_ranks(np.full(5, -np.inf), np.zeros(1))


def test_corrections_are_the_textbooks():
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    p = np.array([0.01, 0.02, 0.03, 0.04, 0.9])
    assert discoveries(p, 0.05).tolist() == [True, True, True, True, False]
    assert not discoveries(np.array([0.9, 0.8]), 0.05).any()


def test_surprisals_of_a_normal_law_are_those_of_its_formula():
    rows, reference = normal_rows(40, seed=1), normal_rows(300, seed=2)
    rows.value[0] = [4.0, -4.0, 60.0]
    surprise, error = surprisals(normal_log_prob, NUMBERS, rows, reference)
    precision = np.linalg.inv(COVARIANCE)
    apart = rows.value - SHIFT
    # x_j given the rest: variance 1 / P_jj, mean μ_j − Σ_{k≠j} P_jk (x_k − μ_k) / P_jj.
    scaled = apart @ precision / precision.diagonal()
    exact = 0.5 * (scaled**2 * precision.diagonal() + np.log(2 * np.pi / precision.diagonal()))
    assert np.abs(surprise - exact)[1:].max() < 0.005
    assert (np.abs(surprise - exact) <= error + 0.005).all()  # also of a row 20 deviations away


@pytest.mark.parametrize(("rates", "within"), [((1.0, 2.0, 4.0), 1e-4), ((1.0, 9.0, 90.0), 0.02)])
def test_surprisals_of_states_and_lattices_are_sums(rates, within):
    """Short lattices are summed, long ones integrated over."""
    table = [Variable("state", 3), Variable("count", 0, numeric=True, lattice=1.0, low=0.0)]
    weight, rate, draws = np.array([0.2, 0.3, 0.5]), np.array(rates), np.random.default_rng(0)

    def log_prob(rows):
        return np.log(weight[rows.state[:, 0]]) + poisson(rate[rows.state[:, 0]]).logpmf(rows.value[:, 1])

    def law(rows):
        state = draws.choice(3, rows, p=weight)
        value = np.stack([np.full(rows, np.nan), draws.poisson(rate[state])], 1)
        return Encoded(np.stack([state, np.zeros(rows, int)], 1), value)

    rows, reference = law(30), law(500)
    surprise, error = surprisals(log_prob, table, rows, reference)
    all_states = rows.rows(np.repeat(np.arange(30), 3))
    all_states.state[:, 0] = np.tile(np.arange(3), 30)
    over = np.logaddexp.reduce(log_prob(all_states).reshape(-1, 3), 1)
    assert surprise[:, 0] == pytest.approx(over - log_prob(rows), abs=1e-9)
    exact = np.log(weight[rows.state[:, 0]]) - log_prob(rows)
    assert (np.abs(surprise[:, 1] - exact) <= within + error[:, 1]).all()


def ages(rate, extra):
    """Ages from 0 to 90 by a Poisson law, of which every tenth has a probability of its own besides."""
    points, atoms = np.arange(91.0), tuple(np.arange(0.0, 91.0, 10.0))
    smooth = (1 - sum(extra)) * poisson(rate).pmf(points) / poisson(rate).cdf(90)
    age = Variable("age", 10, numeric=True, lattice=1.0, low=0.0, high=90.0, atoms=atoms)

    def log_prob(rows):
        state, value = rows.state[:, 0], rows.value[:, 0]
        number = np.where(state > 0, np.array([0.0, *atoms])[state], np.nan_to_num(value)).astype(int)
        return np.log(smooth[number] + np.array([0.0, *extra])[state])

    def encoded(numbers):
        numbers = np.asarray(numbers, float)
        return Encoded(np.where(numbers % 10 == 0, numbers // 10 + 1, 0)[:, None], numbers[:, None])

    return age, log_prob, encoded


def test_the_points_of_a_long_lattice_that_are_atoms_count_once():
    age, log_prob, encoded = ages(40.0, [0.03] * 10)
    rows = encoded([3, 10, 39, 40, 41, 77])
    reference = encoded(np.random.default_rng(0).poisson(40, 500))
    surprise, error = surprisals(log_prob, [age], rows, reference)
    # There is no other column: p(x | nothing) = p(x), and all of them sum to one.
    assert surprise[:, 0] == pytest.approx(-log_prob(rows), abs=1e-6)
    assert (np.abs(surprise[:, 0] + log_prob(rows)) <= error[:, 0]).all()


def test_an_atom_on_the_way_back_is_a_state_of_its_own():
    age, log_prob, encoded = ages(45.5, [0.0] * 6 + [0.01] + [0.0] * 3)
    reference = encoded(np.random.default_rng(0).poisson(45, 500))
    # Likely enough is the atom at 60, and none from 58 on besides.
    found = nearest_likely(log_prob, [age], encoded([75]), reference, np.log(0.012))
    assert (found.row.state.item(), found.row.value.item()) == (7, 60.0)
    assert found.log_prob == log_prob(encoded([60])).item()


def test_the_nearest_likely_row_moves_one_cell_as_little_as_it_takes():
    reference = normal_rows(300, seed=3)
    wanted = float(np.quantile(normal_log_prob(reference), 0.25))
    row = Encoded(np.zeros((1, 3), np.int64), np.array([[0.0, 1.0, 40.0]]))
    found = nearest_likely(normal_log_prob, NUMBERS, row, reference, wanted)
    assert found.changed == (2,)
    assert found.likely
    assert found.log_prob == pytest.approx(wanted, abs=0.01)  # on the border, not at the mode
    assert -2.0 < found.row.value[0, 2] < 40.0
    usual = Encoded(np.zeros((1, 3), np.int64), SHIFT[None])
    assert nearest_likely(normal_log_prob, NUMBERS, usual, reference, wanted).changed == ()


def test_usual_rows_are_called_unusual_at_the_rate_that_is_said(model):
    held, new = people(400, seed=1), people(2_000, seed=2)
    found = anomalies(model, new, held=held, explain=0)
    for p in (found.p, found.by_density, found.by_typicality):
        for rate in (0.02, 0.05, 0.2):
            # Binomial over new rows, and the held-out quantile's own spread.
            spread = (rate * (1 - rate) * (1 / len(new) + 1 / len(held))) ** 0.5
            assert (p <= rate).mean() <= rate + 3 * spread
    assert (found.by_density <= 0.2).mean() >= 0.1  # and not because nothing is ever called so
    assert len(found.discovered(0.05)) <= 2
    assert found.trained == 0.0


def test_planted_rows_are_found_with_their_columns_and_what_would_be_usual(model):
    new = people(60, seed=3)
    new.loc[len(new)] = ["f", 150.0, 115.0, 2]
    new.loc[len(new)] = ["m", 179.0, 79.0, 9]
    found = anomalies(model, new, held=people(2_000, seed=9), explain=2, reference=60)
    assert set(found.discovered(0.2)) >= {60, 61}
    by_row = {one.row: one for one in found.strangest}
    assert set(by_row) == {60, 61}
    assert {cell.column for cell in by_row[60].cells[:2]} == {"height", "weight"}
    assert by_row[61].cells[0].column == "kids"
    assert by_row[61].cells[0].adjusted <= 0.05
    assert all(cell.adjusted > 0.05 for cell in by_row[61].cells[1:])
    assert [change.column for change in by_row[61].changes] == ["kids"]
    assert "kids = 9" in found.in_words()
    json.dumps(found.to_json(), allow_nan=False)


def test_cells_that_cannot_be_are_the_surprise(model):
    odd = pd.DataFrame({"sex": ["x"], "height": [170.0], "weight": [70.0], "kids": [1]})
    found = anomalies(model, odd, explain=1, reference=20)
    first = found.strangest[0].cells[0]
    assert (first.column, first.value, first.surprisal) == ("sex", "a value that cannot be", np.inf)
    assert [change.column for change in found.strangest[0].changes][:1] == ["sex"]
    json.dumps(found.to_json(), allow_nan=False)


def test_a_model_from_a_file_asks_for_held_out_rows(model, tmp_path):
    model.save(tmp_path / "people.safetensors")
    loaded = diffeo.FlowDensity.load(tmp_path / "people.safetensors")
    new = people(20, seed=5)
    kept = anomalies(loaded, new, explain=0)
    assert kept.p.tolist() == anomalies(model, new, explain=0).p.tolist()
    assert np.isnan(kept.trained)
    with pytest.raises(diffeo.errors.DataError, match="held"):
        anomalies(loaded, new)


def test_training_rows_are_said_to_be(model):
    found = anomalies(model, people(2_000, seed=0), explain=0)
    assert found.trained == pytest.approx(0.9, abs=0.01)
    assert "trained on 90 %" in found.in_words()


def test_what_is_no_model_is_refused():
    with pytest.raises(diffeo.errors.ConfigError, match="FlowDensity"):
        anomalies("model", people(5, seed=0))
    with pytest.raises(diffeo.errors.ConfigError, match="not fitted"):
        anomalies(diffeo.FlowDensity(), people(5, seed=0))
    assert diffeo.diagnostics.anomalies is anomalies
