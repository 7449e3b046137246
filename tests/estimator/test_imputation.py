"""Imputed cells follow the exact conditionals, and the effective sample size says where they do not."""

import numpy as np
import pandas as pd
import pytest

from diffeo import FlowDensity


@pytest.fixture(scope="module")
def heavy():
    draws = np.random.default_rng(0)
    t = draws.standard_t(1.5, 2_500)
    y = t + 0.5 * draws.standard_t(1.5, 2_500)
    return FlowDensity("mixture", max_steps=60, random_state=0).fit(pd.DataFrame({"t": t, "y": y}))


def quadrature(model, t):
    """Return points y, the distribution function of y given t there, and p(t)."""
    y = t + np.sinh(np.linspace(-9, 9, 20_001))
    p = np.exp(model.score_samples(pd.DataFrame({"t": np.full(len(y), t), "y": y})))
    mass = np.r_[0, np.cumsum(0.5 * (p[1:] + p[:-1]) * np.diff(y))]
    return y, mass / mass[-1], mass[-1]


@pytest.mark.parametrize("t", [0.0, 5.0, 70.0, -60.0])
def test_numbers_far_out_are_drawn_from_the_member_that_has_them(heavy, t):
    y, distribution, mass = quadrature(heavy, t)
    found = heavy.impute(pd.DataFrame({"t": [t] * 300, "y": [np.nan] * 300}), 1, random_state=2)
    drawn = np.sort(np.interp(found.tables[0]["y"], y, distribution))
    apart = np.abs(drawn - (np.arange(300) + 0.5) / 300).max()
    assert apart < 1.63 / np.sqrt(300)  # Kolmogorov–Smirnov, at 1 %
    # All members are proposed from, each as likely as it is: the draws are of p itself.
    assert found.effective == pytest.approx(found.proposals)
    continuous, row = heavy.density_.joint.continuous, np.array([[t, np.nan]])
    _, log_weight = continuous.complete(row, np.array([[True, False]]), seed=1, draws=50)
    assert np.exp(log_weight).mean() == pytest.approx(mass, rel=1e-3)


def test_flows_are_targets_of_draws_from_other_members():
    draws = np.random.default_rng(0)
    t = draws.standard_t(2, 800)
    frame = pd.DataFrame({"t": t, "y": np.abs(t) + 0.3 * draws.standard_t(2, 800)})
    model = FlowDensity("affine", max_steps=40, random_state=0).fit(frame)
    continuous = model.density_.joint.continuous
    # The flow is nearly all of the density, and nothing is proposed from it.
    continuous.model.weights = [0.7 if "affine" in name else 0.3 for name in continuous.model.names]
    for given in (0.0, 2.0, -9.0):
        y, distribution, mass = quadrature(model, given)
        row = np.array([[given, np.nan]])
        filled, log_weight = continuous.complete(row, np.array([[True, False]]), seed=1, draws=20_000)
        weight = np.exp(log_weight[0])
        assert abs(weight.mean() - mass) < 5 * weight.std() / np.sqrt(len(weight)) + 1e-3 * mass
        below = np.interp(filled[0, :, 1], y, distribution)
        assert (weight @ below) / weight.sum() == pytest.approx(0.5, abs=0.03)


def texts(values):
    return np.asarray(values, dtype=object)


def exact(model, rows):
    """Return the probabilities of rows among one another."""
    p = np.exp(model.score_samples(rows))
    return p / p.sum()


def rare_and_usual(seed=0):
    draws = np.random.default_rng(seed)
    c = texts(np.where(draws.random(3_000) < 0.02, "rare", "usual"))
    x = np.where(c == "rare", 10, 0) + draws.normal(size=3_000)
    return pd.DataFrame({"c": c, "x": x, "y": x + np.where(c == "rare", -5, 5) + draws.normal(size=3_000)})


def test_a_rare_state_is_found_by_what_comes_after():
    model = FlowDensity("gaussian", max_steps=30, random_state=0).fit(rare_and_usual()[["c", "x"]])
    rows = pd.DataFrame({"c": texts([None] * 400), "x": np.repeat([10.0, 4.9], 200)})
    found = model.impute(rows, 1, random_state=0)
    drawn = (found.tables[0]["c"] == "rare").to_numpy()
    assert drawn[:200].all()
    between = exact(model, pd.DataFrame({"c": texts(["rare", "usual"]), "x": [4.9, 4.9]}))[0]
    assert drawn[200:].mean() == pytest.approx(
        between, abs=4 * np.sqrt(between * (1 - between) / 200) + 1e-9
    )
    # All completions there are were weighed.
    assert (found.effective == found.proposals).all()


def test_a_rare_state_is_found_where_numbers_are_unknown_beside_it():
    model = FlowDensity("gaussian", max_steps=30, random_state=0).fit(rare_and_usual())
    rows = pd.DataFrame({"c": texts([None] * 300), "x": 10.0, "y": np.nan})
    found = model.impute(rows, 1, random_state=0)
    table = found.tables[0]
    assert (table["c"] == "rare").all()
    # Only the candidates of the rare state are of use, and there are enough of them.
    assert (found.effective > 20).all()
    assert (found.effective < 50).all()
    y = np.linspace(-30, 40, 4_001)
    given = exact(model, pd.DataFrame({"c": texts(["rare"] * len(y)), "x": 10.0, "y": y}))
    below = np.sort(np.interp(table["y"], y, given.cumsum()))
    assert np.abs(below - (np.arange(300) + 0.5) / 300).max() < 1.63 / np.sqrt(300)


def test_an_unlikely_cause_of_a_sure_sign():
    draws = np.random.default_rng(0)
    cause = draws.random(6_000) < 0.01
    sign = np.where(cause, draws.random(6_000) < 0.95, draws.random(6_000) < 0.0015)
    frame = pd.DataFrame({"cause": cause, "sign": sign})
    model = FlowDensity(max_steps=100, first=["cause"], random_state=0).fit(frame)
    holes = pd.DataFrame({"cause": texts([None] * 1_000), "sign": np.ones(1_000, bool)})
    found = model.impute(holes, 1, random_state=0)
    wanted = exact(model, pd.DataFrame({"cause": [True, False], "sign": [True, True]}))[0]
    assert (found.tables[0]["cause"] == True).mean() == pytest.approx(wanted, abs=0.07)  # noqa: E712
    assert (found.effective == found.proposals).all()


@pytest.fixture(scope="module")
def categories():
    """Three categories, the second with holes, and a count, bound together."""
    draws = np.random.default_rng(1)
    a = draws.integers(0, 4, 3_000)
    b = np.where(draws.random(3_000) < 0.8, a, draws.integers(0, 4, 3_000))
    c = (b + (draws.random(3_000) < 0.1)) % 3
    frame = pd.DataFrame({"a": texts(list("uvwx"))[a], "b": texts(list("klmn"))[b]})
    frame["c"] = texts(list("pqr"))[c]
    frame.loc[draws.random(3_000) < 0.1, "b"] = None
    frame["n"] = draws.poisson(1 + 2 * (c == 0))
    return FlowDensity(max_steps=80, first=["a", "b", "c", "n"], random_state=0).fit(frame)


def shares(table, columns, every):
    """Return the share of each row of ``every`` among those of the table."""
    counted = table.groupby(list(columns)).size() / len(table)
    return np.array([counted.get(key if len(columns) > 1 else key[0], 0.0) for key in every])


@pytest.mark.parametrize("unknown", ["a", "b", "c", "ab", "ac", "bc", "abc"])
def test_categories_are_drawn_as_enumeration_has_them(categories, unknown):
    row = {"a": "u", "b": "l", "c": "r", "n": 3}
    levels = {"a": "uvwx", "b": "klmn", "c": "pqr"}
    every = np.stack(np.meshgrid(*(list(levels[c]) for c in unknown)), -1).reshape(-1, len(unknown))
    frame = pd.DataFrame({c: [row[c]] * len(every) for c in row})
    for k, column in enumerate(unknown):
        frame[column] = texts(every[:, k])
    wanted = exact(categories, frame)
    holes = pd.DataFrame({c: texts([row[c]] * 2_000) if c != "n" else [3] * 2_000 for c in row})
    holes[list(unknown)] = None
    found = categories.impute(holes.astype(dict.fromkeys(unknown, object)), 1, random_state=0)
    drawn = shares(found.tables[0], unknown, [tuple(one) for one in every])
    assert np.abs(drawn - wanted).max() < 4 * np.sqrt(0.25 / 2_000)
    assert ((drawn - wanted) ** 2 * 2_000 / np.maximum(wanted, 1e-3)).sum() < 3 * len(wanted) + 10
    assert (found.effective == found.proposals).all()


def test_counts_are_drawn_within_the_states_that_are_covered():
    draws = np.random.default_rng(2)
    rare = draws.random(4_000) < 0.03
    n = np.where(rare, draws.poisson(30, 4_000), draws.poisson(1.0, 4_000))
    frame = pd.DataFrame({"c": texts(np.where(rare, "rare", "usual")), "n": n})
    frame["x"] = n + np.where(rare, 10, 0) + draws.normal(size=4_000)
    model = FlowDensity("gaussian", max_steps=60, first=["c", "n"], random_state=0).fit(frame)
    every = pd.DataFrame([(c, k) for c in ("rare", "usual") for k in range(100)], columns=["c", "n"])
    for x in (40.0, 12.0, 3.0):
        wanted = exact(model, every.astype({"c": object}).assign(x=x))
        holes = pd.DataFrame({"c": texts([None]), "n": [np.nan], "x": [x]})
        found = model.impute(holes, 3_000, random_state=0, proposals=6_000)
        drawn = shares(pd.concat(found.tables), ["c", "n"], list(every.itertuples(index=False, name=None)))
        error = np.sqrt(wanted * (1 - wanted) / found.effective[0]) + 2e-3
        assert (np.abs(drawn - wanted) < 4 * error).all()


def test_the_first_of_many_combinations_are_covered():
    draws = np.random.default_rng(3)
    frame = pd.DataFrame({"a": draws.integers(0, 12, 4_000), "b": draws.integers(0, 30, 4_000)})
    frame["d"] = np.where(draws.random(4_000) < 0.02, 1, 0)
    frame["x"] = frame["a"] + 8.0 * frame["d"] + draws.normal(size=4_000) * 0.5
    frame = frame.assign(**{c: texts([f"{c}{k}" for k in frame[c]]) for c in "abd"})
    model = FlowDensity("gaussian", max_steps=30, first=["a", "b", "d"], random_state=0).fit(frame)
    pairs = [(a, b, d) for a in range(12) for b in range(30) for d in range(2)]
    every = pd.DataFrame({c: texts([f"{c}{p[k]}" for p in pairs]) for k, c in enumerate("abd")})
    wanted = exact(model, every.assign(x=19.0))
    holes = pd.DataFrame({c: texts([None] * 500) for c in "abd"}).assign(x=19.0)
    found = model.impute(holes, 1, random_state=0)
    for column in "ad":
        for level in np.unique(every[column]):
            share = wanted[every[column] == level].sum()
            assert (found.tables[0][column] == level).mean() == pytest.approx(share, abs=0.09)


def test_rows_whose_unknown_cells_come_last_are_drawn_as_they_were(categories):
    holes = pd.DataFrame({"a": ["u"] * 50, "b": ["k"] * 50, "c": texts([None] * 50), "n": [np.nan] * 50})
    found = categories.impute(holes, 60, random_state=0, proposals=60)
    assert found.effective == pytest.approx(60)
    assert len({table["n"][0] for table in found.tables}) > 2


def test_forced_states_of_a_row_sum_to_the_probability_of_what_is_known(categories):
    joint, count = categories.density_.joint, 2_000
    row = pd.DataFrame({"a": ["u"], "b": ["l"], "c": ["r"], "n": [3]})
    encoded = categories.density_.schema.encode(row).columns(joint.ordered)
    rows = encoded.rows(np.zeros(4 * count, np.int64))
    known = np.tile([True, False, True, True], (4 * count, 1))
    forced = np.where(known, -1, np.arange(4 * count)[:, None] % 4)
    found = joint.mixed.complete_in_states(rows, known, 0, forced)
    assert (found.rows.state[:, 1] == forced[:, 1]).all()
    assert (found.prior[known] == 0).all()
    # On average over the models that draws are made with.
    p = np.exp(found.weight + found.prior.sum(1)).reshape(count, 4)
    wanted = np.exp(joint.mixed.log_prob(found.rows.rows(np.arange(4))))
    assert (np.abs(p.mean(0) - wanted) < 5 * p.std(0) / np.sqrt(count) + 1e-9).all()
